//! Filters as flags, named as in URLs.

use serde_json::{Map, Value, json};

use super::exit::CommandError;

/// Which items count. A filter given more than once matches any of its values.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct FilterArgs {
    /// Only items with this label
    #[arg(long)]
    category: Vec<String>,
    /// No items with this label
    #[arg(long, value_name = "CATEGORY")]
    not_category: Vec<String>,
    /// Only items of this section
    #[arg(long)]
    group: Vec<String>,
    /// No items of this section
    #[arg(long, value_name = "GROUP")]
    not_group: Vec<String>,
    /// Only items in this language
    #[arg(long, value_name = "CODE")]
    language: Vec<String>,
    /// No items in this language
    #[arg(long, value_name = "CODE")]
    not_language: Vec<String>,
    /// Only items with this attribute
    #[arg(long, value_name = "NAME=VALUE")]
    attribute: Vec<String>,
    /// No items with this attribute
    #[arg(long, value_name = "NAME=VALUE")]
    not_attribute: Vec<String>,
    /// Only items published at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    published_after: Option<String>,
    /// Only items published before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    published_before: Option<String>,
}

impl FilterArgs {
    /// As parameters of a URL, not encoded.
    ///
    /// # Errors
    /// When an attribute is not `NAME=VALUE`.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, &str)>, CommandError> {
        let mut said: Vec<(String, &str)> = Vec::new();
        for (name, value) in [
            ("published_after", &self.published_after),
            ("published_before", &self.published_before),
        ] {
            said.extend(value.as_deref().map(|value| (name.to_owned(), value)));
        }
        for (name, values) in self.repeated() {
            said.extend(values.iter().map(|value| (name.to_owned(), value.as_str())));
        }
        for (name, all) in [
            ("attribute", &self.attribute),
            ("not_attribute", &self.not_attribute),
        ] {
            for one in all {
                let (key, value) = attribute(one)?;
                said.push((format!("{name}.{key}"), value));
            }
        }
        Ok(said)
    }

    /// As a filter in JSON; `None`: every item passes.
    ///
    /// # Errors
    /// When an attribute is not `NAME=VALUE`.
    pub(crate) fn json(&self) -> Result<Option<Value>, CommandError> {
        let (mut all, mut none) = (Vec::new(), Vec::new());
        if self.published_after.is_some() || self.published_before.is_some() {
            let (after, before) = (&self.published_after, &self.published_before);
            all.push(json!({"field": "published_at", "after": after, "before": before}));
        }
        for (name, values) in self.repeated() {
            let (clauses, name) = match name.strip_prefix("not_") {
                Some(name) => (&mut none, name),
                None => (&mut all, name),
            };
            let field = if name == "category" {
                "categories"
            } else {
                name
            };
            if !values.is_empty() {
                clauses.push(json!({"field": field, "in": values}));
            }
        }
        for (given, clauses) in [
            (&self.attribute, &mut all),
            (&self.not_attribute, &mut none),
        ] {
            let mut by_key: Map<String, Value> = Map::new();
            for one in given {
                let (key, value) = attribute(one)?;
                let values = by_key.entry(key).or_insert_with(|| json!([]));
                if let Value::Array(values) = values {
                    values.push(value.into());
                }
            }
            let of_key =
                |(key, values)| json!({"field": format!("attributes.{key}"), "in": values});
            clauses.extend(by_key.into_iter().map(of_key));
        }
        let is_filtered = !all.is_empty() || !none.is_empty();
        Ok(is_filtered.then(|| json!({"all": all, "none": none})))
    }

    /// Filters that match any of several values.
    fn repeated(&self) -> [(&'static str, &[String]); 6] {
        [
            ("category", &self.category),
            ("not_category", &self.not_category),
            ("group", &self.group),
            ("not_group", &self.not_group),
            ("language", &self.language),
            ("not_language", &self.not_language),
        ]
    }
}

fn attribute(given: &str) -> Result<(&str, &str), CommandError> {
    given
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| {
            CommandError::usage(format!(
                "expected NAME=VALUE, such as author=\"A. Writer\"; got {given:?}"
            ))
        })
}
