//! The conditions of a query, as a form.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::links::encoded;

/// The default number of neighbours.
const USUAL: &str = "10";

/// Conditions that may be repeated, one per line of a field.
const REPEATED: [&str; 7] = [
    "category",
    "not_category",
    "group",
    "not_group",
    "language",
    "not_language",
    "exclude",
];

/// The names of all conditions, except those of attributes.
const CONDITIONS: [&str; 17] = [
    "limit",
    "min_score",
    "category",
    "not_category",
    "group",
    "not_group",
    "language",
    "not_language",
    "published_after",
    "published_before",
    "half_life",
    "balance",
    "collapse",
    "diversity",
    "fallback",
    "exclude",
    "explain",
];

/// The conditions of a form, as parameters of the interface; those without a value are omitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConditionsForm(Vec<(String, String)>);

impl ConditionsForm {
    /// Reads the fields of a form, in the order of [`CONDITIONS`]. Ignores other fields, which belong to the view.
    pub fn of(fields: &[(String, String)]) -> Self {
        let mut pairs = Vec::new();
        for name in CONDITIONS {
            for (_, value) in fields.iter().filter(|(given, _)| given == name) {
                let lines: Vec<&str> = if REPEATED.contains(&name) {
                    value.lines().collect()
                } else {
                    vec![value]
                };
                let lines = lines
                    .into_iter()
                    .map(str::trim)
                    .filter(|line| !line.is_empty());
                pairs.extend(lines.map(|line| (name.to_owned(), line.to_owned())));
            }
        }
        for (name, value) in fields {
            let is_attribute = ["attribute.", "not_attribute."]
                .iter()
                .any(|of| name.starts_with(of));
            if is_attribute && !value.trim().is_empty() {
                pairs.push((name.clone(), value.trim().to_owned()));
            }
            // `name = value`, one per line.
            if name == "attributes" || name == "not_attributes" {
                let of = if name == "attributes" {
                    "attribute."
                } else {
                    "not_attribute."
                };
                let lines = value.lines().filter_map(|line| line.split_once('='));
                pairs.extend(
                    lines.map(|(key, value)| {
                        (format!("{of}{}", key.trim()), value.trim().to_owned())
                    }),
                );
            }
        }
        Self(pairs)
    }

    /// The parameters.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The query string of a GET, including its question mark; `why` asks for explanations, unless the form sets that.
    pub fn query(&self, why: bool) -> String {
        let explain = ("explain".to_owned(), "true".to_owned());
        let said = self.all("explain").next().is_some();
        let pairs = self.0.iter().chain((why && !said).then_some(&explain));
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        }
    }

    /// The same as fields of a POST.
    pub fn json(&self, why: bool) -> Map<String, Value> {
        let mut fields = Map::new();
        let (mut all, mut none) = (Vec::new(), Vec::new());
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.0 {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let mut time = Map::new();
        for name in names {
            let values: Vec<&str> = self.all(name).collect();
            let (is_not, of) = match name.strip_prefix("not_") {
                Some(of) => (true, of),
                None => (false, name),
            };
            let field = match of {
                "category" => Some("categories".to_owned()),
                "group" | "language" => Some(of.to_owned()),
                _ => of
                    .strip_prefix("attribute.")
                    .map(|name| format!("attributes.{name}")),
            };
            if let Some(field) = field {
                let clause = json!({"field": field, "in": values});
                if is_not {
                    none.push(clause);
                } else {
                    all.push(clause);
                }
                continue;
            }
            let value = values.first().copied().unwrap_or_default();
            match name {
                "published_after" => {
                    time.insert("after".into(), value.into());
                }
                "published_before" => {
                    time.insert("before".into(), value.into());
                }
                "exclude" => {
                    fields.insert(name.into(), values.into());
                }
                _ => {
                    fields.insert(name.into(), typed(value));
                }
            }
        }
        if !time.is_empty() {
            time.insert("field".into(), "published_at".into());
            all.push(Value::Object(time));
        }
        let mut filter = Map::new();
        for (name, clauses) in [("all", all), ("none", none)] {
            if !clauses.is_empty() {
                filter.insert(name.into(), clauses.into());
            }
        }
        if !filter.is_empty() {
            fields.insert("filter".into(), filter.into());
        }
        if why && !fields.contains_key("explain") {
            fields.insert("explain".into(), true.into());
        }
        fields
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// The values of a field, one per line.
    pub(crate) fn value(&self, name: &str) -> String {
        self.all(name).collect::<Vec<_>>().join("\n")
    }

    fn attributes(&self, of: &str) -> String {
        let of = self
            .0
            .iter()
            .filter_map(|(name, value)| Some(format!("{}={value}", name.strip_prefix(of)?)));
        of.collect::<Vec<_>>().join("\n")
    }

    fn count(&self) -> usize {
        self.0
            .iter()
            .filter(|(name, value)| !(name == "limit" && value == USUAL))
            .count()
    }

    /// The fields of the form, without its button.
    pub(crate) fn fields(&self) -> Markup {
        self.fields_of(None)
    }

    /// The same for a form elsewhere in the document.
    pub(crate) fn fields_of(&self, form: Option<&str>) -> Markup {
        html! {
            div.fields {
                (self.line(form, "limit", "Number of items", USUAL, "number"))
                (self.line(form, "min_score", "Lowest score", "0.2", "text"))
                (self.choice(form, "collapse", "Show only the best of", &["near", "group"], &["near-duplicates", "each group"]))
                (self.line(form, "half_life", "Halve the score every", "7d", "text"))
                (self.choice(form, "balance", "Demote items that resemble everything", &["true"], &["yes"]))
                (self.line(form, "diversity", "Diversity", "0 to 1", "text"))
                (self.choice(form, "fallback", "Fill up with", &["newest", "random"], &["the newest", "any"]))
                (self.choice(form, "explain", "Explain scores", &["true", "false"], &["yes", "no"]))
            }
            details.more open[self.all("category").chain(self.all("not_category")).chain(self.all("exclude")).next().is_some()] {
                summary { "Filters" }
                div.fields {
                    (self.lines(form, "category", "In one of the categories"))
                    (self.lines(form, "not_category", "In none of the categories"))
                    (self.lines(form, "group", "In one of the groups"))
                    (self.lines(form, "not_group", "In none of the groups"))
                    (self.lines(form, "language", "In one of the languages"))
                    (self.lines(form, "not_language", "In none of the languages"))
                    (self.pairs_field(form, "attributes", "attribute.", "With one of the attributes, as name=value"))
                    (self.pairs_field(form, "not_attributes", "not_attribute.", "With none of the attributes, as name=value"))
                    (self.line(form, "published_after", "Published at or after", "2026-01-31T00:00:00Z", "text"))
                    (self.line(form, "published_before", "Published before", "2026-12-31T00:00:00Z", "text"))
                    (self.lines(form, "exclude", "Without these ids"))
                }
            }
        }
    }

    /// The number of conditions, or `none`.
    pub(crate) fn summary(&self) -> String {
        match self.count() {
            0 => "none".to_owned(),
            count => count.to_string(),
        }
    }

    fn line(
        &self,
        form: Option<&str>,
        name: &str,
        label: &str,
        example: &str,
        kind: &str,
    ) -> Markup {
        html! {
            label { span { (label) " " code { (name) } }
                input form=[form] name=(name) type=(kind) value=(self.value(name)) placeholder=(example) min=[(kind == "number").then_some("1")]
                    max=[(kind == "number").then_some("1000")] autocomplete="off";
            }
        }
    }

    fn lines(&self, form: Option<&str>, name: &str, label: &str) -> Markup {
        html! {
            label { span { (label) " " code { (name) } }
                textarea form=[form] name=(name) rows="2" placeholder="one per line" autocomplete="off" { (self.value(name)) }
            }
        }
    }

    fn pairs_field(&self, form: Option<&str>, name: &str, of: &str, label: &str) -> Markup {
        html! {
            label { span { (label) " " code { (of) "NAME" } }
                textarea form=[form] name=(name) rows="2" placeholder="author=A. Writer" autocomplete="off" { (self.attributes(of)) }
            }
        }
    }

    fn choice(
        &self,
        form: Option<&str>,
        name: &str,
        label: &str,
        values: &[&str],
        words: &[&str],
    ) -> Markup {
        let chosen = self.value(name);
        let off = if name == "balance" || name == "explain" {
            "false"
        } else {
            "none"
        };
        html! {
            label { span { (label) " " code { (name) } }
                select form=[form] name=(name) {
                    option value="" { "the domain's default" }
                    @for (value, word) in values.iter().zip(words) {
                        option value=(value) selected[chosen == **value] { (word) }
                    }
                    @if !values.contains(&off) {
                        option value=(off) selected[chosen == off] { "no" }
                    }
                }
            }
        }
    }
}

/// A value as JSON: a number, true or false, else a string.
fn typed(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&str, &str)]) -> ConditionsForm {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        ConditionsForm::of(&fields)
    }

    #[test]
    fn fields_without_a_value_are_left_out_and_lines_are_values() {
        let asked = asked(&[
            ("half_life", ""),
            ("category", "rail\r\n\r\n sea "),
            ("limit", "5"),
            ("attributes", "author=A. Writer\nx"),
            ("not_attribute.tone", "dry"),
            ("view", "x"),
        ]);
        let query = "?limit=5&category=rail&category=sea&attribute.author=A.%20Writer&not_attribute.tone=dry";
        assert_eq!(asked.query(false), query);
        assert_eq!(asked.query(true), format!("{query}&explain=true"));
        assert_eq!(
            self::asked(&[("explain", "false")]).query(true),
            "?explain=false"
        );
        assert_eq!(ConditionsForm::default().query(false), "");
    }

    #[test]
    fn conditions_are_the_same_as_json() {
        let asked = asked(&[
            ("limit", "5"),
            ("min_score", "0.25"),
            ("balance", "true"),
            ("half_life", "7d"),
            ("category", "rail\nsea"),
            ("not_language", "de"),
            ("exclude", "a\nb"),
            ("published_after", "2026-01-01T00:00:00Z"),
            ("attributes", "x=1"),
        ]);
        assert_eq!(
            Value::Object(asked.json(true)),
            json!({
                "limit": 5, "min_score": 0.25, "half_life": "7d", "balance": true, "exclude": ["a", "b"], "explain": true,
                "filter": {
                    "all": [
                        {"field": "categories", "in": ["rail", "sea"]},
                        {"field": "attributes.x", "in": ["1"]},
                        {"field": "published_at", "after": "2026-01-01T00:00:00Z"},
                    ],
                    "none": [{"field": "language", "in": ["de"]}],
                },
            })
        );
    }

    #[test]
    fn what_was_asked_is_in_the_form_again() {
        let form = asked(&[
            ("category", "a<b"),
            ("collapse", "near"),
            ("attributes", "k=v"),
        ])
        .fields()
        .into_string();
        assert!(
            form.contains(">a&lt;b</textarea>")
                && form.contains("value=\"near\" selected")
                && form.contains(">k=v<")
        );
    }
}
