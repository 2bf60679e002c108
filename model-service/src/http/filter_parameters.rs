//! Filters as parameters: `category=rail&not_group=archive`, the same for queries and for lists of
//! items.

use chrono::{DateTime, Utc};
use kindred_query::Filter;
use kindred_query::filter::{Clause, Field, Test};

use super::error::Error;
use super::values::{check_size, invalid, moment, text_of};

/// Filters. A repeated parameter matches any of its values. Documents what [`FilterParameters`]
/// reads.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents what FilterParameters reads")]
pub(super) struct FilterQuery {
    /// Only items with this label.
    category: Option<Vec<String>>,
    /// Only items of this section.
    group: Option<Vec<String>>,
    /// Only items in this language, as their text was read.
    language: Option<Vec<String>>,
    /// Only items whose attribute NAME has this value.
    #[param(rename = "attribute.NAME")]
    attribute: Option<Vec<String>>,
    /// No items with this label.
    not_category: Option<Vec<String>>,
    /// No items of this section.
    not_group: Option<Vec<String>>,
    /// No items in this language.
    not_language: Option<Vec<String>>,
    /// No items whose attribute NAME has this value.
    #[param(rename = "not_attribute.NAME")]
    not_attribute: Option<Vec<String>>,
    /// Only items published at or after this time (RFC 3339).
    #[param(format = DateTime)]
    published_after: Option<String>,
    /// Only items published before this time (RFC 3339).
    #[param(format = DateTime)]
    published_before: Option<String>,
}

/// A filter, built while parameters are read one after the other.
#[derive(Debug, Default)]
pub(super) struct FilterParameters {
    /// Fields with whether they exclude, and their values.
    fields: Vec<(bool, Field, Vec<Box<str>>)>,
    after: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

impl FilterParameters {
    /// Takes a parameter; returns whether it belongs to a filter, else it is left to the caller.
    ///
    /// # Errors
    /// 400 for an invalid time, or one given twice.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, Error> {
        let place = match name {
            "published_after" => &mut self.after,
            "published_before" => &mut self.before,
            _ => return Ok(self.take_value(name, value)),
        };
        if place.is_some() {
            return Err(invalid(name, format!("{name} may be given only once.")));
        }
        *place = Some(moment(name, value)?);
        Ok(true)
    }

    fn take_value(&mut self, name: &str, value: &str) -> bool {
        let (is_not, field) = match name.strip_prefix("not_") {
            Some(rest) => (true, field(rest)),
            None => (false, field(name)),
        };
        let Some(field) = field else {
            return false;
        };
        let value = text_of(&field, value);
        let mut known = self.fields.iter_mut();
        let known = known.find(|(not, one, _)| *not == is_not && *one == field);
        match known {
            Some((_, _, values)) => values.push(value),
            None => self.fields.push((is_not, field, vec![value])),
        }
        true
    }

    /// The filter that the parameters make together.
    ///
    /// # Errors
    /// 400 when it has too many clauses or values.
    pub(super) fn filter(self) -> Result<Filter, Error> {
        let mut filter = Filter::default();
        let (after, before) = (self.after, self.before);
        if after.is_some() || before.is_some() {
            filter.all.push(Clause {
                field: Field::PublishedAt,
                test: Test::Between { after, before },
            });
        }
        let mut values = 0;
        for (is_not, field, of_field) in self.fields {
            values += of_field.len();
            let test = Test::one_of(of_field);
            let clauses = if is_not {
                &mut filter.none
            } else {
                &mut filter.all
            };
            clauses.push(Clause { field, test });
        }
        check_size("filter", &filter, values)?;
        Ok(filter)
    }
}

/// The field that a parameter names.
fn field(name: &str) -> Option<Field> {
    Some(match name {
        "category" => Field::Categories,
        "group" => Field::Group,
        "language" => Field::Language,
        _ => match name.strip_prefix("attribute.") {
            Some(key) if !key.is_empty() => Field::Attribute(key.into()),
            _ => return None,
        },
    })
}
