//! Values of parameters and fields, parsed strictly.

use chrono::{DateTime, Utc};
use kindred_api::problem::ProblemKind;
use kindred_query::Filter;
use kindred_query::filter::{Field, MOST_CLAUSES, MOST_VALUES};
use kindred_shared::language::canonical;
use serde_json::{Map, Value};

use super::error::Error;
use super::query::unknown;

/// The error for a parameter or field with an invalid value.
pub(super) fn invalid(name: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(ProblemKind::InvalidParameter, detail).field(name)
}

/// A value in its compared form: all spellings of a language are equal.
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

/// Parses a timestamp.
///
/// # Errors
/// 400 when it is invalid.
pub(super) fn moment(name: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    let at = DateTime::parse_from_rfc3339(text);
    at.map(|at| at.to_utc()).map_err(|_| {
        let detail = format!(
            "{name} is a time in RFC 3339 format, such as 2026-11-23T09:00:00Z; in a URL a plus \
            is %2B."
        );
        invalid(name, detail)
    })
}

/// # Errors
/// 400 for the first name that is not among the `known`, with the nearest one.
pub(super) fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown("field", name, known)),
        None => Ok(()),
    }
}
