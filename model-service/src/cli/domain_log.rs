//! `kindred domain log`: who changed what in a domain.

use std::io::Write;

use kindred_api::log::{LogAnswer, LogLine};
use kindred_api::path;
use serde_json::{Map, Value};

use super::client::{Server, printable};
use super::exit::{Exit, Outcome};
use super::flags::ClientFlags;
use super::output::json_line;
use crate::config::Config;

/// Shows who changed settings, models and experiments of a domain, when, and how.
///
/// The oldest change that is kept comes first. `-` means that no key was used, `kindred` that the service itself made
/// the change.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// The domain
    domain: String,
    /// Continue where an earlier output ended: the value of its `next` (--json)
    #[arg(long, value_name = "NEXT")]
    after: Option<u64>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

pub(crate) fn log(args: &LogArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let path = path::log(&args.domain);
    let mut all = LogAnswer {
        entries: Vec::new(),
        next: args.after.unwrap_or_default().to_string(),
    };
    loop {
        let answer = client.get_good(&format!("{path}?after={}", all.next))?;
        let page: LogAnswer = client.read(&answer)?;
        all.next = page.next;
        if page.entries.is_empty() {
            break;
        }
        all.entries.extend(page.entries);
    }
    if json {
        json_line(out, &all)?;
    } else {
        for line in &all.entries {
            write_line(line, out)?;
        }
    }
    Ok(Exit::Done)
}

fn write_line(line: &LogLine, out: &mut dyn Write) -> std::io::Result<()> {
    let LogLine { at, by, what, .. } = line;
    writeln!(
        out,
        "{at}  {:<14}  {:<18}  {}",
        printable(by),
        printable(what),
        printable(&change(&line.before, &line.after))
    )
}

/// A change in words: each field as `name: before → after`.
fn change(before: &Value, after: &Value) -> String {
    let none = Map::new();
    let before = before.as_object().unwrap_or(&none);
    let after = after.as_object().unwrap_or(&none);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let told = names.into_iter().map(|name| {
        let (was, is) = (text(before.get(name)), text(after.get(name)));
        if was == is {
            format!("{name} {was}")
        } else {
            format!("{name} {was} → {is}")
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_field_by_field() {
        let told = |before, after| change(&before, &after);
        assert_eq!(
            told(
                json!({"window": "1s", "max_age": null}),
                json!({"window": "2s", "max_age": 60})
            ),
            "max_age - → 60, window 1s → 2s"
        );
        let ready = json!({"name": "m", "kind": "words-1", "state": "ready"});
        assert_eq!(
            told(
                json!({"name": "m", "kind": "words-1", "state": "building"}),
                ready.clone()
            ),
            "kind words-1, name m, state building → ready"
        );
        assert_eq!(
            told(ready, Value::Null),
            "kind words-1 → -, name m → -, state ready → -"
        );
        assert_eq!(told(Value::Null, Value::Null), "");
    }
}
