//! The log of a domain: who changed its settings, models and experiments, when, and how.

use actix_web::{HttpResponse, get};
use kindred_api::log::{LogAnswer, LogLine};
use kindred_domain::log::LogEntry;
use kindred_domain::store::{DomainRow, read_log};
use kindred_shared::event::Event;
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Part, Queries, Reads, Writes};
use super::path::{InDomain, InPath};
use super::query::{Given, InQuery, Parameters};
use super::time::rfc3339;
use super::values::invalid;
use crate::actors::experiments::Experiments;

/// Most entries per page.
const PAGE: usize = 100;
/// Bytes after which a page ends.
const PAGE_BYTES: usize = 1 << 20;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// Where to begin.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// `next` of the previous page; the oldest entry that is kept if left out.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,18}$", example = "0")]
    after: Option<u64>,
}

impl Parameters for LogQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let wrong = || invalid("after", "after is the next of the previous page, once.");
        let numbers = 0..=i64::MAX.cast_unsigned();
        Ok(Self {
            after: given.whole_number("after", numbers, wrong)?,
        })
    }
}

/// The log of a domain: every change of its settings, models and experiments, in order.
///
/// The oldest entries come first, at most 100 per page. `next` is always present; passed as `after`, it returns what
/// was added since. At least the newest 1,000 entries are kept, and at most 2,000. The log is deleted with its domain.
#[utoipa::path(operation_id = "get_log", tag = "domains", params(InDomain, LogQuery),
    responses(
        (status = 200, description = "A page of it.", body = LogAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/log")]
async fn get(
    path: InPath<InDomain>,
    query: InQuery<LogQuery>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    writes: Part<Writes>,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let row = reads.registered(&domain).await?;
    let row = row.ok_or_else(Error::unknown_domain)?;
    record(&reads, &writes, &queries.experiments, &row).await?;
    let after = query.0.after.unwrap_or_default().cast_signed();
    let entries = read_log(&*reads.store, &domain, after, PAGE).await?;
    Ok(HttpResponse::Ok().json(page(entries, after)))
}

fn page(entries: Vec<LogEntry>, after: i64) -> LogAnswer {
    let (mut answer, mut bytes, mut last) = (Vec::new(), 0, after);
    for entry in entries {
        if bytes > PAGE_BYTES {
            break;
        }
        last = entry.number;
        bytes += entry.before.to_string().len() + entry.after.to_string().len();
        answer.push(LogLine {
            at: rfc3339(entry.at),
            by: entry.by,
            what: entry.what,
            before: entry.before,
            after: entry.after,
        });
    }
    LogAnswer {
        entries: answer,
        next: last.to_string(),
    }
}

/// Has the log record the changes of experiments that are missing from it, in order, and waits until they are durable.
///
/// An experiment begins or ends in its own row, and the log has its entry a moment later. A change
/// is only confirmed after that; and since this is done before the next change and before the log is
/// read, a crash in between loses nothing.
pub(super) async fn record(
    reads: &Reads,
    writes: &Writes,
    experiments: &Experiments,
    domain: &DomainRow,
) -> Result<(), Error> {
    let set = reads.store.settings(&domain.domain).await?;
    let recorded = set.map_or(0, |set| set.log.recorded());
    for change in experiments.unrecorded(domain, recorded).await? {
        writes.settle(Event::Record(Box::new(change))).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_page_is_not_much_longer_than_a_mebibyte() {
        let entry = |number: i64, bytes: usize| LogEntry {
            number,
            at: DateTime::from_timestamp_millis(number).expect("a time"),
            by: "k".to_owned(),
            what: "x".to_owned(),
            before: Value::Null,
            after: "x".repeat(bytes).into(),
        };
        let answer = page((1..=9).map(|n| entry(n, 400 << 10)).collect(), 0);
        assert_eq!((answer.entries.len(), answer.next.as_str()), (3, "3"));
        let answer = page(vec![entry(4, 5 << 20), entry(5, 1)], 3);
        assert_eq!((answer.entries.len(), answer.next.as_str()), (1, "4"));
        let answer = page(Vec::new(), 7);
        assert_eq!((answer.entries.len(), answer.next.as_str()), (0, "7"));
    }
}
