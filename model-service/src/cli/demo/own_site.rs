//! `kindred demo FOLDER|FILE`: imports your own site and shows some of its neighbours.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use kindred_api::item::ItemsAnswer;
use kindred_api::path;
use kindred_shared::DomainName;
use serde::Serialize;

use super::{Article, beside, neighbours, quiet};
use crate::cli::client::Client;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::import::{self, Input, Options, Summary, Wanted};
use crate::cli::local::DemoArgs;
use crate::cli::output::json_line;
use crate::config::Config;
use crate::sites::domain_of;
use crate::standalone::Standalone;

/// Items shown.
const SHOWN: usize = 3;
/// Items inspected to find some that have neighbours.
const LOOKED_AT: &str = "50";
/// A large site takes its time.
const QUIET_WITHIN: Duration = Duration::from_secs(900);

/// What is printed, as text or JSON.
#[derive(Debug, Serialize)]
struct Report {
    /// Address of the page to open.
    page: String,
    address: String,
    domain: DomainName,
    #[serde(flatten)]
    imported: Summary,
    /// Seconds from the first event until the last list.
    exact_after: f64,
    articles: Vec<Article>,
}

/// Imports the site into a service and shows the result.
pub(super) async fn show(
    source: &Path,
    args: &DemoArgs,
    config: &Config,
    service: &Standalone,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let address = service.address.to_string();
    let client = Client::new(&format!("http://{address}"))?;
    let began = Instant::now();
    let wanted = Wanted {
        domain: args.domain.clone(),
        base: args.url_base.clone(),
        max_text: config.events.max_text,
    };
    let (sender, path) = (client.clone(), source.to_owned());
    let imported = beside(move || load(&sender, &path, wanted)).await?;
    let Some(domain) = imported.domains.first().cloned() else {
        return Err(CommandError::failed(format!(
            "{}: no items found{}",
            source.display(),
            imported
                .besides()
                .map_or(String::new(), |words| format!("; {words}"))
        )));
    };
    quiet(service, QUIET_WITHIN).await?;
    let exact_after = began.elapsed().as_secs_f64();
    let of = domain.clone();
    let articles = beside(move || articles(&client, of.as_str())).await?;
    let report = Report {
        page: format!("http://{address}/domains/{domain}"),
        address,
        domain,
        imported,
        exact_after,
        articles,
    };
    Ok(print(&report, args.once, json, out)?)
}

/// Imports the site. Unless a domain is given or known, it is named after the folder.
fn load(client: &Client, source: &Path, mut wanted: Wanted) -> Result<Summary, CommandError> {
    let options = |wanted: &Wanted| Options {
        domain: wanted.domain.clone(),
        rejects: Some(std::env::temp_dir().join("kindred-demo.rejects.ndjson")),
        timeout: Duration::from_secs(10),
        shown: true,
        ..Options::default()
    };
    let load = |wanted: &Wanted| {
        let input = Input::open(source, wanted)?;
        import::load_inputs(client, vec![input], &options(wanted))
    };
    let done = match load(&wanted) {
        Err(failure) if failure.exit == Exit::Usage && wanted.domain.is_none() => {
            let whole = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
            let name = whole.file_stem().and_then(|name| name.to_str());
            let Some(domain) = name.and_then(domain_of) else {
                return Err(failure);
            };
            wanted.domain = Some(domain);
            load(&wanted)
        }
        done => done,
    };
    match done? {
        (_, Some(broken)) => Err(broken),
        (summary, None) => Ok(summary),
    }
}

/// Some of the newest items that have neighbours.
fn articles(client: &Client, domain: &str) -> Result<Vec<Article>, CommandError> {
    let newest = [("limit", LOOKED_AT), ("sort", "newest")];
    let answer = client.get_good(&path::with_query(&path::items(domain), &newest))?;
    let page: ItemsAnswer = client.read(&answer)?;
    let mut articles = Vec::new();
    for item in page.items {
        let id = item.id.as_str().to_owned();
        let similar = match neighbours(client, domain, &id) {
            // It appears later: its date is in the future.
            Err(failure) if failure.exit == Exit::NotFound => continue,
            similar => similar?,
        };
        if !similar.is_empty() {
            articles.push(Article {
                title: item.title.unwrap_or_else(|| id.clone()),
                id,
                similar,
            });
        }
        if articles.len() == SHOWN {
            break;
        }
    }
    Ok(articles)
}

fn print(report: &Report, once: bool, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        json_line(out, report)?;
        return out.flush();
    }
    for article in &report.articles {
        article.tell(out)?;
    }
    let imported = &report.imported;
    for kind in &imported.kinds {
        writeln!(out, "\nread as {kind}")?;
    }
    writeln!(
        out,
        "{} items of {} in and every list exact after {:.1} s, {} rejected.",
        imported.accepted, report.domain, report.exact_after, imported.ended.rejected
    )?;
    if let Some(rejects) = &imported.ended.rejects {
        writeln!(out, "rejected, with the reasons: {}", rejects.display())?;
    }
    if let Some(besides) = imported.besides() {
        writeln!(out, "{besides}")?;
    }
    if !once {
        writeln!(out, "\nSee it on {} until Ctrl-C. Or ask:", report.page)?;
        if let Some(article) = report.articles.first() {
            writeln!(
                out,
                "  curl 'http://{}{}'",
                report.address,
                path::similar(report.domain.as_str(), &article.id, 5)
            )?;
        }
    }
    out.flush()
}
