//! Finds items similar to a text.

use kindred_api::domain::DomainAnswer;
use kindred_api::path;
use kindred_api::problem::Problem;
use kindred_api::similar::SimilarAnswer;
use maud::html;
use serde_json::{Map, Value};

use crate::conditions::ConditionsForm;
use crate::frame::{Frame, Tab, copied};
use crate::items::of_domain;
use crate::links;
use crate::neighbours::{Beside, answer};
use crate::problem;

/// A text that was typed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// Its title.
    pub title: String,
    /// The text.
    pub text: String,
    /// Its language; empty: detect it.
    pub language: String,
}

impl Text {
    /// Reads the fields of the form.
    pub fn of(fields: &[(String, String)]) -> Self {
        let value = |of: &str| {
            let found = fields.iter().find(|(name, _)| name == of);
            found.map_or_else(String::new, |(_, value)| value.clone())
        };
        Self {
            title: value("title"),
            text: value("text"),
            language: value("text_language"),
        }
    }

    /// Whether title and text are blank.
    pub fn is_empty(&self) -> bool {
        self.title.trim().is_empty() && self.text.trim().is_empty()
    }

    /// The body of the query.
    pub fn query(&self, asked: &ConditionsForm, why: bool) -> String {
        let mut fields = Map::new();
        for (name, value) in [
            ("title", &self.title),
            ("text", &self.text),
            ("language", &self.language),
        ] {
            if !value.trim().is_empty() {
                fields.insert(name.to_owned(), value.as_str().into());
            }
        }
        fields.extend(asked.json(why));
        Value::Object(fields).to_string()
    }
}

/// The view; `similar` is `None` before the first query.
pub fn page(
    frame: &Frame,
    domain: &DomainAnswer,
    text: &Text,
    similar: Option<&Result<SimilarAnswer, Problem>>,
    asked: &ConditionsForm,
) -> String {
    let name = domain.domain.as_str();
    let head = frame.domain_head(name, &of_domain(domain));
    let body = html! {
        div.split {
            section aria-labelledby="related" {
                h2 #related { "What is similar to this text" }
                form.conditions #ask action=(links::domain(name, "/text")) {
                    label { span { "Title" } input name="title" value=(text.title) autocomplete="off"; }
                    label { span { "Text" } textarea name="text" rows="8" { (text.text) } }
                    div.row { button { "Ask" } }
                }
                @match similar {
                    None => p.empty { "Type or paste a draft. It is compared like an item, but not stored." },
                    Some(Ok(similar)) => (answer(similar, &Beside { domain: name, query: "", of: None })),
                    Some(Err(error)) => (problem::note(error)),
                }
            }
            aside aria-label="Conditions and code" {
                div.conditions {
                    h2 { "Conditions " small { (asked.summary()) } }
                    fieldset.plain {
                        legend.unseen { "Conditions" }
                        label.alone { span { "Language of the text" } input form="ask" name="text_language" value=(text.language) placeholder="detected" autocomplete="off"; }
                        (asked.fields_of(Some("ask")))
                    }
                }
                @if !text.is_empty() {
                    h2 { "Use this query" }
                    (copied("curl", &curl(frame, name, text, asked)))
                }
            }
        }
    };
    frame.domain_page(name, Tab::Text, &format!("Ask {name}"), &head, &body)
}

fn curl(frame: &Frame, domain: &str, text: &Text, asked: &ConditionsForm) -> String {
    let keyed = if frame.who == crate::Who::Anyone {
        ""
    } else {
        " -H \"Authorization: Bearer $KINDRED_KEY\""
    };
    let body = text.query(asked, false).replace('\'', "'\\''");
    format!(
        "curl{keyed} '{}{}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'",
        frame.base,
        path::queries(domain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn a_command_takes_a_text_with_apostrophes() {
        let text = Text {
            title: String::new(),
            text: "It's ice".to_owned(),
            language: "en".to_owned(),
        };
        let curl = curl(&frame(), "d.example", &text, &ConditionsForm::default());
        assert!(
            curl.ends_with("-d '{\"language\":\"en\",\"text\":\"It'\\''s ice\"}'"),
            "{curl}"
        );
        assert!(!text.is_empty() && Text::default().is_empty());
    }
}
