//! Front matter: metadata at the beginning of a file, as YAML, TOML or JSON.

use serde_json::{Map, Value};

/// The metadata of a file.
pub(super) type Matter = Map<String, Value>;

/// A file split into its parts.
#[derive(Debug, PartialEq)]
pub(super) struct Parted<'a> {
    /// Its metadata; `None`: it has no front matter.
    pub(super) matter: Option<Matter>,
    /// The rest.
    pub(super) body: &'a str,
}

/// Front matter that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line of the file, counted from 1.
    pub(super) line: u64,
    /// What is wrong, and what would be right.
    pub(super) detail: String,
}

/// Its syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Yaml,
    Toml,
    Json,
}

/// Splits a file.
pub(super) fn part(text: &str) -> Result<Parted<'_>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = line_of(text);
    let first = first.trim_end();
    let (fence, language) = match first {
        "---" | "---yaml" | "--- yaml" => ("---", Language::Yaml),
        "---toml" | "--- toml" => ("---", Language::Toml),
        "---json" | "--- json" => ("---", Language::Json),
        "+++" => ("+++", Language::Toml),
        ";;;" => (";;;", Language::Json),
        "{" => return json(text),
        _ => {
            return Ok(Parted {
                matter: None,
                body: text,
            });
        }
    };
    let mut after = rest;
    while !after.is_empty() {
        let (line, next) = line_of(after);
        let line = line.trim_end();
        if line == fence || (language == Language::Yaml && line == "...") {
            let inside = &rest[..rest.len() - after.len()];
            let matter = parse(inside, language).map_err(|fault| Fault {
                line: fault.line + 1,
                detail: fault.detail,
            })?;
            return Ok(Parted {
                matter: Some(matter),
                body: next,
            });
        }
        after = next;
    }
    Err(Fault {
        line: 1,
        detail: format!("front matter starts here but does not end; close it with a line {fence}"),
    })
}

/// The first line without its end, and what follows.
fn line_of(text: &str) -> (&str, &str) {
    match text.split_once('\n') {
        Some((line, rest)) => (line, rest),
        None => (text, ""),
    }
}

/// JSON without fences: an object, followed by the text.
fn json(text: &str) -> Result<Parted<'_>, Fault> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Matter>();
    match objects.next() {
        Some(Ok(matter)) => {
            let body = &text[objects.byte_offset()..];
            let body = body.strip_prefix('\r').unwrap_or(body);
            Ok(Parted {
                matter: Some(matter),
                body: body.strip_prefix('\n').unwrap_or(body),
            })
        }
        Some(Err(error)) => Err(json_fault(&error)),
        None => Ok(Parted {
            matter: None,
            body: text,
        }),
    }
}

fn json_fault(error: &serde_json::Error) -> Fault {
    Fault {
        line: error.line() as u64,
        detail: format!("front matter is not valid JSON: {error}"),
    }
}

/// Parses front matter, or a settings file.
pub(super) fn parse(text: &str, language: Language) -> Result<Matter, Fault> {
    match language {
        Language::Yaml => yaml(text),
        Language::Toml => toml_of(text),
        Language::Json => serde_json::from_str(text).map_err(|error| json_fault(&error)),
    }
}

fn yaml(text: &str) -> Result<Matter, Fault> {
    // The library's default budget of events, nodes and aliases applies: a file cannot expand
    // without bounds.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
        // Otherwise the titles "Yes" and "No" would be booleans.
        strict_booleans: true,
    };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |place| place.line());
        Fault {
            line,
            detail: format!(
                "front matter is not valid YAML: {}",
                one_line(&error.to_string())
            ),
        }
    })?;
    match value {
        Value::Object(matter) => Ok(matter),
        Value::Null => Ok(Matter::new()),
        _ => Err(Fault {
            line: 1,
            detail: "front matter must be names with values, such as title: Night trains"
                .to_owned(),
        }),
    }
}

fn toml_of(text: &str) -> Result<Matter, Fault> {
    let table: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        Fault {
            line: 1 + text.as_bytes()[..before]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count() as u64,
            detail: format!(
                "front matter is not valid TOML: {}",
                one_line(error.message())
            ),
        }
    })?;
    Ok(table
        .into_iter()
        .map(|(name, value)| (name, of_toml(value)))
        .collect())
}

fn of_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(values) => values.into_iter().map(of_toml).collect(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(name, value)| (name, of_toml(value)))
            .collect(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn is(text: &str, matter: Value, body: &str) {
        let parted = part(text).unwrap();
        assert_eq!(parted.matter.map(Value::Object), Some(matter), "{text}");
        assert_eq!(parted.body, body, "{text}");
    }

    #[test]
    fn every_language_says_the_same() {
        let said = json!({"title": "Night trains", "tags": ["rail", "night"], "draft": false, "n": 7,
            "date": "2026-11-29"});
        let yaml = "title: Night trains\ntags:\n  - rail\n  - night\ndraft: false\nn: 7\ndate: 2026-11-29\n";
        let toml = "title = 'Night trains'\ntags = ['rail', 'night']\ndraft = false\nn = 7\ndate = 2026-11-29\n";
        let object = serde_json::to_string_pretty(&said).unwrap();
        is(&format!("---\n{yaml}---\nText\n"), said.clone(), "Text\n");
        is(
            &format!("\u{feff}---\r\n{}---\r\nText", yaml.replace('\n', "\r\n")),
            said.clone(),
            "Text",
        );
        is(&format!("---  \n{yaml}...\nText"), said.clone(), "Text");
        is(&format!("+++\n{toml}+++\nText"), said.clone(), "Text");
        is(&format!("---toml\n{toml}---\nText"), said.clone(), "Text");
        is(&format!("{object}\nText"), said.clone(), "Text");
        is(
            &format!("---json\n{object}\n---\nText"),
            said.clone(),
            "Text",
        );
        is(&format!(";;;\n{object}\n;;;\nText"), said, "Text");
        is("---\n---\nText", json!({}), "Text");
        is("---\n# none yet\n---", json!({}), "");
    }

    #[test]
    fn yaml_as_it_is_found() {
        is(
            "---\ntitle: \"A: b\"\ntitle: Last\nbase: &b {x: 1}\nmore:\n  <<: *b\n  y: yes\n2026: a year\nempty:\n---\n",
            json!({"title": "Last", "base": {"x": 1}, "more": {"x": 1, "y": "yes"}, "2026": "a year", "empty": null}),
            "",
        );
        is(
            "---\ntext: |\n  one\n  two\nfolded: >-\n  one\n  two\n---\n",
            json!({"text": "one\ntwo\n", "folded": "one two"}),
            "",
        );
    }

    #[test]
    fn a_text_without_front_matter_is_its_body() {
        for text in [
            "",
            "# Title\n",
            "--\nx",
            "----\n",
            "{{< x >}}",
            "Text\n---\n",
        ] {
            assert_eq!(
                part(text),
                Ok(Parted {
                    matter: None,
                    body: text
                })
            );
        }
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        for (text, line, words) in [
            ("---\ntitle: x\n", 1, "does not end"),
            ("+++\ntitle = 'x'\n---\n", 1, "does not end"),
            ("---\ntitle: x\nbad: a: b\n---\n", 3, "YAML"),
            ("---\ntitle: [a\n---\n", 2, "YAML"),
            ("---\n- a\n- b\n---\n", 2, "names with values"),
            ("---\nonly words\n---\n", 2, "names with values"),
            ("+++\na = 1\nb = \n+++\n", 3, "TOML"),
            ("{\n\"a\": 1,\n}\n", 3, "JSON"),
        ] {
            let fault = part(text).unwrap_err();
            assert!(fault.detail.contains(words), "{text}: {fault:?}");
            assert_eq!(fault.line, line, "{text}: {fault:?}");
        }
    }

    #[test]
    fn a_file_cannot_make_more_of_itself() {
        let mut text = "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..20 {
            let before = format!("*a{}", n - 1);
            let all = [before.as_str(); 10].join(", ");
            text += &format!("a{n}: &a{n} [{all}]\n");
        }
        text += "---\n";
        assert!(part(&text).unwrap_err().detail.contains("YAML"));
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(5_000), "]".repeat(5_000));
        assert!(part(&deep).is_err());
    }
}
