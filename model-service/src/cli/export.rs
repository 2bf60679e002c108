//! `kindred export`: writes all items of a domain to a file that `kindred import` takes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kindred_api::path;
use serde_json::{Map, Value};

use super::client::{Client, Server};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Lines requested at a time: 100 MiB with the longest texts.
const LINES: usize = 100;
/// How often progress is drawn.
const TICK: Duration = Duration::from_millis(200);
/// Columns of a CSV file, in their order.
const COLUMNS: [&str; 14] = [
    "id",
    "version",
    "title",
    "text",
    "url",
    "image",
    "language",
    "group",
    "categories",
    "published_at",
    "publish_at",
    "expires_at",
    "hidden",
    "attributes",
];

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Events as `kindred import` takes them, one per line
    Ndjson,
    /// A table without vectors; categories and attributes are JSON
    Csv,
}

/// Writes all live items of a domain. Importing them produces the same lists.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The domain
    domain: String,
    /// Output file; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Continue an earlier export into the same file (NDJSON only)
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

pub(crate) fn run(args: &ExportArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    if args.output == Path::new("-") {
        if args.resume {
            return Err(CommandError::usage(
                "--resume needs the file to continue: -o FILE",
            ));
        }
        export(args, &client, None, out)?;
        return Ok(Exit::Done);
    }
    let (mut file, after) = open(args)?;
    let items = export(args, &client, after, &mut file)?;
    file.sync_all()?;
    if json {
        let told = serde_json::json!({"domain": args.domain, "items": items});
        super::output::json_line(out, &told)?;
    } else {
        writeln!(out, "{items} items written to {}", args.output.display())?;
    }
    Ok(Exit::Done)
}

/// Opens the output file; also the id of the last item already in it.
fn open(args: &ExportArgs) -> Result<(File, Option<String>), CommandError> {
    let in_words =
        |error: std::io::Error| CommandError::failed(format!("{}: {error}", args.output.display()));
    if !args.resume {
        return Ok((File::create(&args.output).map_err(in_words)?, None));
    }
    if args.format == Format::Csv {
        return Err(CommandError::usage("only NDJSON can be resumed"));
    }
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .clone();
    let mut file = options.open(&args.output).map_err(in_words)?;
    let (whole, last) = last_whole_line(&mut file).map_err(in_words)?;
    file.set_len(whole).map_err(in_words)?;
    file.seek(SeekFrom::End(0)).map_err(in_words)?;
    let after = last.map(|line| {
        let event: Option<Map<String, Value>> = serde_json::from_str(&line).ok();
        let id = event.and_then(|event| Some(event.get("id")?.as_str()?.to_owned()));
        id.ok_or_else(|| {
            CommandError::failed(format!(
                "the last line of {} is not an event; only an incomplete line after it was removed",
                args.output.display()
            ))
        })
    });
    Ok((file, after.transpose()?))
}

/// The file's length up to its last line end, and the line before that.
fn last_whole_line(file: &mut File) -> std::io::Result<(u64, Option<String>)> {
    let mut reader = BufReader::new(&*file);
    let (mut whole, mut last) = (0, None);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((whole, last));
        }
        whole += read as u64;
        last = Some(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

/// Writes all items after an id; returns how many.
fn export(
    args: &ExportArgs,
    client: &Client,
    mut after: Option<String>,
    out: &mut dyn Write,
) -> Result<u64, CommandError> {
    let bar = bar();
    let mut items = 0;
    if args.format == Format::Csv {
        writeln!(out, "{}", COLUMNS.join(","))?;
    }
    loop {
        let limit = LINES.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let path = path::with_query(&path::export(&args.domain), &query);
        let answer = client.get_good(&path)?;
        let text = answer.text();
        let mut lines = 0;
        for line in text.lines() {
            let event: Map<String, Value> =
                serde_json::from_str(line).map_err(|error| client.other(&error))?;
            after = event.get("id").and_then(Value::as_str).map(str::to_owned);
            match args.format {
                Format::Ndjson => writeln!(out, "{line}")?,
                Format::Csv => writeln!(out, "{}", row(&event))?,
            }
            lines += 1;
        }
        items += lines as u64;
        bar.set_position(items);
        if lines < LINES || after.is_none() {
            bar.finish_and_clear();
            out.flush()?;
            return Ok(items);
        }
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} items  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// A row of a CSV file (RFC 4180).
fn row(event: &Map<String, Value>) -> String {
    let cells = COLUMNS.map(|column| match event.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(other) => cell(&other.to_string()),
    });
    cells.join(",")
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let event = serde_json::json!({"id": "a,b", "version": 7, "title": "say \"x\"", "hidden": true,
            "categories": ["r"], "vector": [1.0]});
        let row = row(event.as_object().unwrap());
        assert_eq!(row, r#""a,b",7,"say ""x""",,,,,,"[""r""]",,,,true,"#);
        assert_eq!(row.matches(',').count(), COLUMNS.len());
    }

    #[test]
    fn a_line_that_broke_off_is_no_whole_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.ndjson");
        let last = |text: &str| {
            std::fs::write(&path, text).unwrap();
            last_whole_line(&mut File::open(&path).unwrap()).unwrap()
        };
        assert_eq!(last(""), (0, None));
        assert_eq!(last("{\"a\""), (0, None));
        assert_eq!(last("one\ntwo\nthr"), (8, Some("two".to_owned())));
        assert_eq!(last("one\n"), (4, Some("one".to_owned())));
    }
}
