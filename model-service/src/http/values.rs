//! Values of parameters and fields, read strictly.

use chrono::{DateTime, Utc};
use kindred_api::problem::Kind;
use kindred_query::Filter;
use kindred_query::filter::{Field, MOST_CLAUSES, MOST_VALUES};
use kindred_shared::language::canonical;
use serde_json::{Map, Value};

use super::error::Error;
use super::query::unknown;

/// A parameter or field whose value is not one of those it may have.
pub(super) fn invalid(name: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(Kind::InvalidParameter, detail).field(name)
}

/// A value as it is compared: all ways to write a language are one.
pub(super) fn text_of(field: &Field, value: &str) -> Box<str> {
    match field {
        Field::Language => canonical(value).map_or_else(|| value.into(), Into::into),
        _ => value.into(),
    }
}

/// # Errors
/// 400 when it has more clauses or values than a filter may have.
pub(super) fn check_size(name: &str, filter: &Filter, values: usize) -> Result<(), Error> {
    let clauses = filter.all.len() + filter.any.len() + filter.none.len();
    if clauses > MOST_CLAUSES || values > MOST_VALUES {
        let detail = format!(
            "A filter has at most {MOST_CLAUSES} clauses and {MOST_VALUES} values; this one has {clauses} and \
             {values}."
        );
        return Err(invalid(name, detail));
    }
    Ok(())
}

/// A point in time.
///
/// # Errors
/// 400 when it is none.
pub(super) fn moment(name: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    let at = DateTime::parse_from_rfc3339(text);
    at.map(|at| at.to_utc()).map_err(|_| {
        let detail = format!(
            "{name} is a time as RFC 3339 writes it, such as 2026-11-23T09:00:00Z; in an address a plus is %2B."
        );
        invalid(name, detail)
    })
}

/// # Errors
/// 400 for the first name that is none of the `known`, with the nearest.
pub(super) fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown("field", name, known)),
        None => Ok(()),
    }
}
