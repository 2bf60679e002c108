//! Queries as JSON: their subject and their conditions; parsed strictly.

use kindred_api::problem::ProblemKind;
use kindred_query::conditions::MOST_ITEMS;
use kindred_shared::event::{Limits, Reason, without_mark};
use kindred_shared::{ItemId, ModelName};
use serde_json::{Map, Value};

use super::conditions::{NAMES, Wanted};
use super::error::Error;
use super::taking_part::reader;
use super::values::{invalid, only};
use crate::actors::texts::Text;

/// Longest vector of a query.
const MOST_VALUES: usize = 4_096;

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueryRequest {
    /// What results should be similar to.
    pub(crate) of: Of,
    /// Its conditions.
    pub(crate) wanted: Wanted,
    /// The reader, if given.
    pub(crate) reader: Option<String>,
    /// The model to use; `None`: the served one.
    pub(crate) model: Option<ModelName>,
}

/// What results should be similar to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Of {
    /// Items, each with a weight.
    Items(Vec<(ItemId, f64)>),
    /// A text.
    Text(Text),
    /// A vector: 1 to 4,096 finite numbers, not all zero.
    Vector(Vec<f32>),
}

/// The JSON object of a body.
///
/// # Errors
/// 400 when it is something else.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(without_mark(body)).map_err(|error| no_object(&error))
}

/// A body is something else than one JSON object.
pub(super) fn no_object(error: &serde_json::Error) -> Error {
    let detail = format!("Send one JSON object: {error}.");
    Error::new(ProblemKind::Refused(Reason::InvalidJson), detail)
}

impl QueryRequest {
    /// Parses a query.
    ///
    /// # Errors
    /// 400, naming the field and its allowed values; 413 for a text over its limit.
    pub(crate) fn of_json(object: &Map<String, Value>, limits: &Limits) -> Result<Self, Error> {
        const OF: [&str; 7] = [
            "items", "text", "title", "language", "vector", "reader", "model",
        ];
        let known: Vec<&str> = OF.into_iter().chain(NAMES).collect();
        only(object, &known)?;
        let given = |name: &str| object.get(name).filter(|value| !value.is_null());
        let is_text = given("text").is_some() || given("title").is_some();
        let of = match (given("items"), is_text, given("vector")) {
            (Some(items), false, None) => Of::Items(weighted(items)?),
            (None, true, None) => Of::Text(Text {
                title: text("title", given("title"), limits.text_bytes)?,
                text: text("text", given("text"), limits.text_bytes)?,
                language: text("language", given("language"), limits.text_bytes)?,
            }),
            (None, false, Some(values)) => Of::Vector(vector(values)?),
            _ => {
                let detail =
                    "A query has one of items, vector, and text or title (or both of these).";
                return Err(invalid("items", detail));
            }
        };
        if given("language").is_some() && !is_text {
            let detail = "language describes a text: leave it out, or filter by language.";
            return Err(invalid("language", detail));
        }
        let wanted = Wanted::of_json(object)?;
        let reader = match given("reader") {
            None => None,
            Some(name) => Some(reader(name.as_str().unwrap_or_default())?),
        };
        let model = match given("model") {
            None => None,
            Some(Value::String(name)) => Some(model(name)?),
            Some(_) => return Err(invalid("model", "model is the name of a model.")),
        };
        Ok(Self {
            of,
            wanted,
            reader,
            model,
        })
    }
}

/// Parses the name of a model.
///
/// # Errors
/// 400 when it is invalid.
pub(crate) fn model(name: &str) -> Result<ModelName, Error> {
    ModelName::new(name).map_err(|error| invalid("model", format!("{error}.")))
}

fn weighted(value: &Value) -> Result<Vec<(ItemId, f64)>, Error> {
    let list = value
        .as_array()
        .filter(|list| (1..=MOST_ITEMS).contains(&list.len()));
    let Some(list) = list else {
        let detail = format!(
            "items is a list of 1 to {MOST_ITEMS} objects such as {{\"id\":\"a-17\",\"weight\":1.0}}."
        );
        return Err(invalid("items", detail));
    };
    let mut items = Vec::with_capacity(list.len());
    for (at, one) in list.iter().enumerate() {
        let place = format!("items[{at}]");
        let Value::Object(one) = one else {
            let detail =
                format!("{place} is an object such as {{\"id\":\"a-17\",\"weight\":1.0}}.");
            return Err(invalid(place, detail));
        };
        only(one, &["id", "weight"])?;
        let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = ItemId::new(id)
            .map_err(|error| invalid(format!("{place}.id"), format!("{place}: {error}.")))?;
        let weight = match one.get("weight") {
            None | Some(Value::Null) => Some(1.0),
            Some(weight) => weight
                .as_f64()
                .filter(|weight| weight.abs() <= f64::from(f32::MAX)),
        };
        let weight = weight.ok_or_else(|| {
            let name = format!("{place}.weight");
            let detail = format!("{name} is a number from -{0:e} to {0:e}.", f32::MAX);
            invalid(name, detail)
        })?;
        items.push((id, weight));
    }
    if items.iter().all(|(_, weight)| *weight == 0.0) {
        return Err(invalid(
            "items",
            "At least one of the weights of items is not 0.",
        ));
    }
    Ok(items)
}

fn text(name: &str, value: Option<&Value>, most: usize) -> Result<Option<String>, Error> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.len() > most => {
            let detail = format!(
                "{name} is over {most} bytes. Send less: the first pages of a long text say what it is about."
            );
            Err(Error::new(ProblemKind::Refused(Reason::TooLarge), detail).field(name))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(name, format!("{name} is a string."))),
    }
}

fn vector(value: &Value) -> Result<Vec<f32>, Error> {
    let list = value
        .as_array()
        .filter(|list| (1..=MOST_VALUES).contains(&list.len()));
    let values = list.and_then(|list| {
        let values = list.iter().map(|value| Some(value.as_f64()? as f32));
        values.collect::<Option<Vec<f32>>>()
    });
    let is_fit = |values: &Vec<f32>| {
        values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0)
    };
    values.filter(is_fit).ok_or_else(|| {
        let detail = format!(
            "vector is a list of 1 to {MOST_VALUES} numbers that are finite as 32-bit floats and \
            not all zero."
        );
        invalid("vector", detail)
    })
}
