//! `kindred items`: the items of a domain.

use std::io::Write;

use kindred_api::item::{ItemsAnswer, ListedItem};
use kindred_api::path;

use super::client::{Server, printable};
use super::exit::{Exit, Outcome};
use super::filters::FilterArgs;
use super::flags::ClientFlags;
use crate::config::Config;

/// Most items per request.
const PAGE: usize = 1_000;

/// Lists the items of a domain.
#[derive(Debug, clap::Args)]
pub(crate) struct ItemsArgs {
    /// The domain
    domain: String,
    /// Most items to list
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Words that the title or the id must contain
    #[arg(long, value_name = "WORDS")]
    q: Option<String>,
    /// Sort order: `id` or `newest`
    #[arg(long, value_name = "ORDER", default_value = "id", value_parser = ["id", "newest"])]
    sort: String,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

pub(crate) fn run(args: &ItemsArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let filters = args.filters.parameters()?;
    let mut left = args.limit;
    let mut after: Option<String> = None;
    let mut listed = 0_usize;
    while left > 0 {
        let limit = left.min(PAGE).to_string();
        let mut query = vec![("limit", limit.as_str()), ("sort", args.sort.as_str())];
        query.extend(args.q.as_deref().map(|q| ("q", q)));
        query.extend(filters.iter().map(|(name, value)| (name.as_str(), *value)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let answer = client.get_good(&path::with_query(&path::items(&args.domain), &query))?;
        let page: ItemsAnswer = client.read(&answer)?;
        for item in &page.items {
            if json {
                super::output::json_line(out, item)?;
            } else {
                writeln!(out, "{}", in_words(item))?;
            }
        }
        listed += page.items.len();
        left -= page.items.len().min(left);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if listed == 0 && !json {
        writeln!(out, "no items")?;
    }
    Ok(Exit::Done)
}

fn in_words(item: &ListedItem) -> String {
    let title = printable(item.title.as_deref().unwrap_or(""));
    let state = match (item.hidden, &item.publish_at) {
        (true, _) => "  (hidden)".to_owned(),
        (false, Some(at)) => format!("  (published at {at})"),
        (false, None) => String::new(),
    };
    let line = format!("{}  {title}{state}", printable(item.id.as_str()));
    line.trim_end().to_owned()
}
