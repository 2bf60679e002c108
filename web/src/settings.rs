//! The settings of a domain.

use kindred_api::domain::{DomainAnswer, Settings};
use kindred_api::problem::Problem;
use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::frame::{Frame, Tab};
use crate::items::of_domain;
use crate::links;
use crate::problem;

/// The kind of input of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputKind {
    Text,
    Number,
    YesNo,
    /// One text per line.
    Lines,
    Json,
}

/// A setting: its name, its description, an example, its kind of input.
const FIELDS: [(&str, &str, &str, InputKind); 13] = [
    (
        "public",
        "Whether queries need no key",
        "no",
        InputKind::YesNo,
    ),
    (
        "origins",
        "Origins whose pages may ask from a browser",
        "https://news.example",
        InputKind::Lines,
    ),
    (
        "max_age",
        "How long caches may keep answers, in seconds",
        "0",
        InputKind::Number,
    ),
    (
        "defaults",
        "Default conditions of queries",
        "{\"collapse\": \"near\"}",
        InputKind::Json,
    ),
    (
        "near_duplicate",
        "Lowest score of near-duplicates",
        "0.9",
        InputKind::Number,
    ),
    (
        "window",
        "How long events are collected",
        "250ms",
        InputKind::Text,
    ),
    (
        "max_items",
        "Maximum number of live items",
        "no limit",
        InputKind::Number,
    ),
    (
        "max_events_per_second",
        "Maximum events per second, at each instance",
        "no limit",
        InputKind::Number,
    ),
    (
        "max_text",
        "Maximum size of a text, in bytes",
        "as configured",
        InputKind::Number,
    ),
    ("model", "Model", "words-1", InputKind::Text),
    (
        "languages",
        "Languages that are distinguished",
        "en",
        InputKind::Lines,
    ),
    (
        "default_language",
        "Language of texts whose language is unknown",
        "en",
        InputKind::Text,
    ),
    (
        "across_languages",
        "Whether texts of different languages are compared",
        "no",
        InputKind::YesNo,
    ),
];

/// How many of them may be changed at any time; the others only while the domain is empty.
const ANY_TIME: usize = 9;

/// The contents of the form: every setting as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed(Vec<(String, String)>);

impl Typed {
    /// The current settings.
    pub fn of(domain: &DomainAnswer) -> Self {
        let set = domain.settings.as_deref().cloned().unwrap_or_default();
        let set = serde_json::to_value::<Settings>(set).unwrap_or_default();
        let mut typed: Vec<(String, String)> = FIELDS
            .iter()
            .filter_map(|(name, ..)| Some(((*name).to_owned(), as_typed(set.get(name)?))))
            .collect();
        typed.push(("model".to_owned(), domain.model.to_string()));
        Self(typed)
    }

    /// Reads a submitted form.
    pub fn of_form(fields: &[(String, String)]) -> Self {
        let known = |name: &str| FIELDS.iter().any(|(one, ..)| *one == name);
        Self(
            fields
                .iter()
                .filter(|(name, _)| known(name))
                .cloned()
                .collect(),
        )
    }

    /// The body of a PUT. Text of the wrong kind is sent as typed, so that the interface refuses it by name.
    ///
    /// The field of the model shows the active one, whose name need not be one that settings accept. So it is left out
    /// unless it was changed, and the model stays as it is.
    pub fn body(&self, domain: &DomainAnswer) -> String {
        let mut body = Map::new();
        for (name, _, _, kind) in FIELDS {
            let value = self.value(name).trim();
            let is_unchanged = name == "model" && value == domain.model.as_str();
            if value.is_empty() || is_unchanged {
                continue;
            }
            let text = || Value::from(value);
            let read = || serde_json::from_str::<Value>(value).unwrap_or_else(|_| text());
            let value = match kind {
                InputKind::Text => text(),
                InputKind::Number | InputKind::Json | InputKind::YesNo => read(),
                InputKind::Lines => value
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .collect(),
            };
            body.insert(name.to_owned(), value);
        }
        Value::Object(body).to_string()
    }

    fn value(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map_or("", |(_, value)| value)
    }
}

fn as_typed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(as_typed).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

/// The view; `failed` is why the settings were refused.
pub fn page(
    frame: &Frame,
    domain: &DomainAnswer,
    typed: &Typed,
    failed: Option<&Problem>,
    is_saved: bool,
) -> String {
    let name = domain.domain.as_str();
    let head = frame.domain_head(name, &of_domain(domain));
    let at_fault = failed.and_then(|problem| problem.field.as_deref());
    let body = html! {
        @if is_saved { p.note role="status" { "Saved. Every instance applies the settings within a second or two." } }
        @if let Some(problem) = failed { (problem::note(problem)) }
        form.conditions.narrow method="post" action=(links::domain(name, "/settings")) {
            (frame.token_field())
            p.beside { "Empty fields use the default. Saving replaces all settings." }
            div.settings { @for field in &FIELDS[..ANY_TIME] { (one(field, typed, at_fault)) } }
            fieldset.plain disabled[domain.live > 0] {
                legend { @if domain.live > 0 { "Fixed while the domain has items" } @else { "Fixed as soon as the domain has items; empty fields change nothing" } }
                div.settings { @for field in &FIELDS[ANY_TIME..] { (one(field, typed, at_fault)) } }
            }
            div.row { button { "Save" } }
        }
    };
    frame.domain_page(
        name,
        Tab::Settings,
        &format!("Settings of {name}"),
        &head,
        &body,
    )
}

fn one(
    (name, label, example, kind): &(&str, &str, &str, InputKind),
    typed: &Typed,
    at_fault: Option<&str>,
) -> Markup {
    let value = typed.value(name);
    let invalid = (at_fault == Some(*name)).then_some("true");
    html! {
        label { span { (label) " " code { (name) } }
            @match kind {
                InputKind::YesNo => select name=(name) aria-invalid=[invalid] {
                    option value="" { "default" }
                    option value="true" selected[value == "true"] { "yes" }
                    option value="false" selected[value == "false"] { "no" }
                },
                InputKind::Lines | InputKind::Json => textarea name=(name) rows="2" placeholder=(example) spellcheck="false" aria-invalid=[invalid] { (value) },
                InputKind::Text | InputKind::Number => input name=(name) value=(value) placeholder=(example) autocomplete="off" aria-invalid=[invalid];,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kindred_api::domain::SETTINGS;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_setting_has_a_field() {
        let mut names: Vec<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        assert_eq!(names, SETTINGS);
    }

    fn domain(model: &str, set: &Value) -> DomainAnswer {
        let mut whole = json!({"domain": "d", "model": model, "state": "idle", "quiet": true, "live": 0, "visible": 0,
            "pending": 0, "registered_at": "2026-11-23T09:00:00.000Z", "trouble": null});
        let fields = set.as_object().expect("settings").clone();
        whole.as_object_mut().expect("a domain").extend(fields);
        serde_json::from_value(whole).expect("a domain")
    }

    #[test]
    fn what_is_set_comes_back_as_it_was() {
        let set = json!({"public": true, "origins": ["https://a.example", "*"], "max_age": 60, "defaults": {"limit": 3},
            "near_duplicate": 0.85, "window": "1s", "languages": ["en", "de"]});
        let domain = domain("words-1", &set);
        let body: Value = serde_json::from_str(&Typed::of(&domain).body(&domain)).expect("a body");
        assert_eq!(body, set);
    }

    #[test]
    fn the_active_model_is_shown_and_sent_only_if_another_is_typed() {
        let domain = domain("better", &json!({}));
        let typed = Typed::of(&domain);
        assert_eq!(typed.value("model"), "better");
        assert_eq!(typed.body(&domain), "{}");
        let other = Typed::of_form(&[("model".into(), "text-2".into())]);
        assert_eq!(other.body(&domain), r#"{"model":"text-2"}"#);
    }

    #[test]
    fn what_is_no_number_is_sent_to_be_refused() {
        let typed = Typed::of_form(&[
            ("max_age".into(), "soon".into()),
            ("token".into(), "x".into()),
            ("window".into(), " ".into()),
        ]);
        let domain = domain("words-1", &json!({}));
        assert_eq!(typed.body(&domain), r#"{"max_age":"soon"}"#);
    }
}
