//! The activity view: what the service is doing now.

use kindred_api::activity::Activity;
use maud::{Markup, html};

use crate::figures::{bytes, count, counted, rate, seconds, sparkline};
use crate::frame::{Frame, HeaderLink, Live};

/// The most important figures, as a strip.
pub(crate) fn figures(activity: &Activity) -> Markup {
    let over = seconds(activity.over_seconds);
    html! {
        section.figures aria-label=(format!("This instance, the last {over}")) {
            dl {
                div { dt { "Events" } dd { (rate(activity.events_per_second)) small { " per second" } } }
                div { dt { "Event to list, median" } dd { @match activity.freshness { Some(fresh) => (seconds(fresh.p50_seconds)), None => "–" } small { " p50" } } }
                div { dt { "Event to list, 99th percentile" } dd { @match activity.freshness { Some(fresh) => (seconds(fresh.p99_seconds)), None => "–" } small { " p99" } } }
                div { dt { "Backlog" } dd { (count(activity.pending)) small { @if activity.pending > 0 { " · " (seconds(activity.oldest_pending_seconds)) } @else { " items" } } } }
                div { dt { "Queries" } dd { (rate(activity.queries_per_second)) small { " per second" } } }
            }
            (sparkline(&activity.events_history, &format!("Events per second over the last {over}")))
            p.caption aria-hidden="true" { span { "Events per second, the last " (over) } span { "now" } }
        }
    }
}

/// The view.
pub fn page(frame: &Frame, activity: &Activity) -> String {
    let body = html! {
        h1 { "Activity" }
        p.lead { "What this instance does, now and over the last " (seconds(activity.over_seconds)) "." }
        @for word in &activity.degraded { p.note role="alert" { strong { "Degraded. " } (word) } }
        (figures(activity))
        div.columns {
            section {
                h2 { "Jobs" }
                dl.pairs {
                    dt { "In flight" } dd { (count(activity.jobs.in_flight)) }
                    dt { "To extract, since the start" } dd { (count(activity.jobs.extract)) }
                    dt { "To compare, since the start" } dd { (count(activity.jobs.compare)) }
                    dt { "Overdue" } dd.bad[activity.jobs.overdue > 0] { (count(activity.jobs.overdue)) }
                    dt { "Given up" } dd.bad[activity.jobs.failed > 0] { (count(activity.jobs.failed)) }
                    dt { "Pairs compared" } dd { (rate(activity.pairs_per_second)) " per second" }
                    dt { "Queries waiting" } dd { (count(activity.queries_waiting)) }
                }
            }
            section {
                h2 { "Domains" }
                dl.pairs {
                    dt { "Active" } dd { (count(activity.domains.active)) }
                    dt { "Waiting for jobs or the store" } dd { (count(activity.domains.waiting)) }
                    dt { "With lists to be written" } dd { (count(activity.domains.dirty)) }
                    dt { "Backing off" } dd.bad[activity.domains.backing_off > 0] { (count(activity.domains.backing_off)) }
                    dt { "Memory, as estimated" } dd { (bytes(activity.memory_bytes)) " of " (bytes(activity.memory_budget_bytes)) }
                }
            }
            section {
                h2 { "Refused events" }
                @if activity.refused.is_empty() { p.empty { "None since the start." } } @else {
                    dl.pairs { @for refused in &activity.refused { dt { (refused.reason) } dd { (count(refused.events)) } } }
                }
            }
        }
        h2 { "Workers" }
        p.beside { (counted(activity.workers.taking_jobs as u64, "worker takes jobs", "workers take jobs"))
            @if activity.jobs.done_here { "; this service does the jobs itself, because no worker is running" } "." }
        @if !activity.workers.workers.is_empty() {
            table {
                caption.unseen { "Compute workers" }
                thead { tr { th scope="col" { "Worker" } th scope="col" { "Kernel" } th.number scope="col" { "Threads" }
                    th.number scope="col" { "Jobs done" } th.number.wide scope="col" { "Last heard from" } } }
                tbody { @for worker in &activity.workers.workers {
                    tr { th scope="row" { (worker.name) } td { (worker.kernel) } td.number { (worker.threads) }
                        td.number { (count(worker.jobs_done)) } td.number.wide { (seconds(worker.seen_seconds_ago)) " ago" } }
                } }
            }
        }
        h2 { "Partitions" }
        table {
            caption.unseen { "Partitions and their owners" }
            thead { tr { th scope="col" { "Partition" } th scope="col" { "Owner" } } }
            tbody { @for partition in &activity.partitions {
                tr { th scope="row" { (partition.partition) }
                    td { @match &partition.owner {
                        Some(_) if partition.here => span.state.s-quiet { "this instance" },
                        Some(owner) => span.state.s-asleep { (owner) },
                        None => span.state.s-bad { "nobody" },
                    } } }
            } }
        }
        p.beside { "The same as JSON: " a href="/v1/activity" { "/v1/activity" } "; as server-sent events: " code { "/v1/activity/stream" } "." }
    };
    frame.page("Activity", HeaderLink::Activity, Live::Streamed, &body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn what_is_wrong_stands_out_and_names_are_text() {
        let activity = serde_json::from_value(json!({
            "at": "2026-11-23T09:00:00.000Z", "over_seconds": 300.0, "events_per_second": 2.0, "events_history": [1.0, 3.0],
            "queries_per_second": 0.0, "pairs_per_second": 0.0, "refused": [{"reason": "invalid-json", "events": 2}], "pending": 7,
            "oldest_pending_seconds": 3.0, "domains": {"active": 1, "waiting": 0, "dirty": 0, "backing_off": 1},
            "jobs": {"in_flight": 1, "extract": 2, "compare": 3, "overdue": 0, "failed": 0, "done_here": false},
            "queries_waiting": 0, "memory_bytes": 1, "memory_budget_bytes": 2, "taking_jobs": 1,
            "workers": [{"name": "<box>", "kernel": "avx2", "threads": 4, "jobs_done": 12, "seen_seconds_ago": 1.5}],
            "partitions": [{"partition": 0, "here": true, "owner": "a:1"}, {"partition": 1, "here": false}],
        })).expect("an activity");
        let text = page(&frame(), &activity);
        assert!(
            text.contains("&lt;box&gt;")
                && text.contains("invalid-json")
                && text.contains("nobody")
        );
        assert!(text.contains("<dd class=\"bad\">1</dd>") && text.contains("this instance"));
        assert!(text.contains("M0.0 23.3L240.0 2.0"), "{text}");
    }
}
