//! Filters as JSON: `{"all":[…],"any":[…],"none":[…]}` of clauses.

use kindred_query::Filter;
use kindred_query::filter::{Clause, Field, Test};
use serde_json::{Map, Value};

use super::error::Error;
use super::query::unknown;
use super::values::{check_size, invalid, moment, only, text_of};

/// Parses a filter.
///
/// # Errors
/// 400, naming the field and its allowed values.
pub(super) fn of_json(value: &Value) -> Result<Filter, Error> {
    let Value::Object(object) = value else {
        return Err(invalid(
            "filter",
            "filter is an object of all, any and none, each a list of clauses.",
        ));
    };
    only(object, &["all", "any", "none"])?;
    let mut values = 0;
    let mut clauses = |name: &str| -> Result<Vec<Clause>, Error> {
        let list = match object.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => {
                let detail = format!("filter.{name} is a list of clauses.");
                return Err(invalid(format!("filter.{name}"), detail));
            }
        };
        let mut clauses = Vec::new();
        for (at, value) in list.iter().enumerate() {
            let place = format!("filter.{name}[{at}]");
            values += value["in"].as_array().map_or(0, Vec::len);
            if let Some(clause) = clause(&place, value)? {
                clauses.push(clause);
            }
        }
        Ok(clauses)
    };
    let filter = Filter {
        all: clauses("all")?,
        any: clauses("any")?,
        none: clauses("none")?,
    };
    check_size("filter", &filter, values)?;
    Ok(filter)
}

/// Parses one clause; `None`: its list is empty, so it has no effect.
fn clause(place: &str, value: &Value) -> Result<Option<Clause>, Error> {
    let Value::Object(object) = value else {
        let detail = format!(
            "{place} is an object with a field, and with in, exists, or after and before. Clauses are not nested."
        );
        return Err(invalid(place, detail));
    };
    only(object, &["field", "in", "exists", "after", "before"])?;
    let Some(Value::String(name)) = object.get("field") else {
        let names = Field::NAMES.join(", ");
        return Err(invalid(
            place,
            format!("{place} has a field, one of: {names}."),
        ));
    };
    let field = Field::named(name).ok_or_else(|| unknown("field", name, &Field::NAMES))?;
    let is_time = field == Field::PublishedAt;
    let test = match (object.get("in"), object.get("exists"), time(place, object)?) {
        (Some(list), None, None) if !is_time => one_of(place, &field, list)?,
        (None, Some(Value::Bool(there)), None) => Some(Test::Exists(*there)),
        (None, None, Some(between)) if is_time => Some(between),
        _ => {
            let ways = if is_time {
                "exists (true or false), or after, before, or both"
            } else {
                "in (a list of strings) or exists (true or false)"
            };
            return Err(invalid(
                place,
                format!("{place} of {name} has one of: {ways}."),
            ));
        }
    };
    Ok(test.map(|test| Clause { field, test }))
}

/// One of a list of values; `None`: the list is empty.
fn one_of(place: &str, field: &Field, list: &Value) -> Result<Option<Test>, Error> {
    let values = list.as_array().and_then(|list| {
        let texts = list
            .iter()
            .map(|value| Some(text_of(field, value.as_str()?)));
        texts.collect::<Option<Vec<Box<str>>>>()
    });
    let values =
        values.ok_or_else(|| invalid(place, format!("in of {place} is a list of strings.")))?;
    Ok((!values.is_empty()).then(|| Test::one_of(values)))
}

fn time(place: &str, object: &Map<String, Value>) -> Result<Option<Test>, Error> {
    let end = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => moment(&format!("{place}.{name}"), text).map(Some),
        Some(_) => moment(&format!("{place}.{name}"), "").map(Some),
    };
    let (after, before) = (end("after")?, end("before")?);
    let is_some = after.is_some() || before.is_some();
    Ok(is_some.then_some(Test::Between { after, before }))
}
