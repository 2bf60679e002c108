//! The list of domains, with the state of each.

use kindred_api::activity::{Activity, Freshness};
use kindred_api::domain::{DomainAnswer, DomainState};
use maud::{Markup, html};

use crate::activity;
use crate::figures::{count, counted, seconds};
use crate::frame::{Frame, HeaderLink, Live};
use crate::links;

/// Domains per page.
pub const PAGE: usize = 100;

/// Which domains to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainSearch {
    /// A part of the name.
    pub q: String,
    /// `busy`, `trouble` or all.
    pub only: String,
    /// The page number, starting at 1.
    pub page: usize,
}

impl DomainSearch {
    fn has(&self, domain: &DomainAnswer) -> bool {
        let name = domain.domain.as_str();
        let is_named = name
            .to_ascii_lowercase()
            .contains(&self.q.to_ascii_lowercase());
        let is_so = match self.only.as_str() {
            "busy" => !domain.quiet,
            "trouble" => domain.trouble.is_some() || is_bad(domain.state),
            _ => true,
        };
        is_named && is_so
    }
}

/// The view. `activity` is `None` for visitors who may not see it.
pub fn page(
    frame: &Frame,
    domains: &[DomainAnswer],
    activity: Option<&Activity>,
    degraded: &[String],
    asked: &DomainSearch,
) -> String {
    let chosen: Vec<&DomainAnswer> = domains.iter().filter(|domain| asked.has(domain)).collect();
    let pages = chosen.len().div_ceil(PAGE).max(1);
    let page = asked.page.clamp(1, pages);
    let shown = chosen.iter().skip((page - 1) * PAGE).take(PAGE);
    let visible: u64 = domains.iter().map(|domain| domain.visible).sum();
    let pending: u64 = domains.iter().map(|domain| domain.pending).sum();
    let body = html! {
        h1 { "Domains" }
        p.lead { (counted(domains.len() as u64, "domain", "domains")) ", " (counted(visible, "visible item", "visible items"))
            @if pending > 0 { ", " strong { (counted(pending, "list to be made", "lists to be made")) } } "." }
        @for word in degraded { p.note role="alert" { strong { "Degraded. " } (word) } }
        @if let Some(activity) = activity { (activity::figures(activity)) }
        @if domains.is_empty() {
            (first())
        } @else {
            (search(asked))
            @if chosen.is_empty() { p.empty { "No domain matches." } } @else {
                table {
                    caption.unseen { "Domains, by name" }
                    thead { tr {
                        th scope="col" { "Domain" } th scope="col" { "State" } th.number scope="col" { "Items" }
                        th.number.wide scope="col" { "Events" } th.number.wide scope="col" { "Event to list" }
                        th.number scope="col" { "Backlog" } th.wide scope="col" { "Model" }
                    } }
                    tbody { @for domain in shown { (row(domain)) } }
                }
                (pager(asked, page, pages, chosen.len()))
                p.caption.wide { "Events of the last five minutes, and the time from event to list: the median and the 99th percentile." }
            }
        }
    };
    frame.page("Domains", HeaderLink::Domains, Live::Polled, &body)
}

fn search(asked: &DomainSearch) -> Markup {
    let option = |value: &str, word: &str| html! { option value=(value) selected[asked.only == value] { (word) } };
    html! {
        form.search role="search" action="/" data-search {
            label.grow { span.unseen { "Find a domain" } input type="search" name="q" value=(asked.q) placeholder="Find a domain" autocomplete="off"; }
            label { span.unseen { "State" } select name="only" { (option("", "all")) (option("busy", "busy")) (option("trouble", "in trouble")) } }
            button { "Find" }
        }
    }
}

fn row(domain: &DomainAnswer) -> Markup {
    let name = domain.domain.as_str();
    html! {
        tr {
            th scope="row" {
                a.strong href=(links::domain(name, "")) { (name) }
                @if let Some(trouble) = &domain.trouble { p.bad { (trouble) } }
            }
            td { (state(domain)) }
            td.number { (count(domain.visible))
                @if domain.live > domain.visible { span.soft title="live, not visible" { " + " (count(domain.live - domain.visible)) } } }
            td.number.wide { @match domain.recent { Some(recent) if recent.events > 0 => (count(recent.events)), _ => span.soft { "0" } } }
            td.number.wide { (freshness(domain.recent.and_then(|recent| recent.freshness))) }
            td.number { (backlog(domain)) }
            td.wide { (domain.model) }
        }
    }
}

fn freshness(fresh: Option<Freshness>) -> Markup {
    html! {
        @match fresh {
            Some(fresh) => { (seconds(fresh.p50_seconds)) span.soft { " · " (seconds(fresh.p99_seconds)) } }
            None => span.soft { "–" }
        }
    }
}

/// The recent events of a domain, and their time from event to list; nothing without events.
pub(crate) fn recent(domain: &DomainAnswer) -> Markup {
    let recent = domain.recent.unwrap_or_default();
    html! {
        @if recent.events > 0 {
            " · " (counted(recent.events, "event", "events")) " in the last " (seconds(recent.over_seconds))
            @if let Some(fresh) = recent.freshness {
                ", event to list " (seconds(fresh.p50_seconds)) " (p50), " (seconds(fresh.p99_seconds)) " (p99)"
            }
        }
    }
}

fn backlog(domain: &DomainAnswer) -> Markup {
    html! {
        @if domain.pending == 0 { span.soft { "0" } } @else {
            strong { (count(domain.pending)) }
            @if let Some(oldest) = domain.oldest_pending_seconds { span.soft { " · " (seconds(oldest)) } }
        }
    }
}

/// The state of a domain, as a dot and a word.
pub(crate) fn state(domain: &DomainAnswer) -> Markup {
    let class = match domain.state {
        state if is_bad(state) => "state s-bad",
        DomainState::Asleep => "state s-asleep",
        DomainState::Idle if domain.quiet => "state s-quiet",
        _ => "state s-busy",
    };
    html! { span class=(class) { (domain.state.word().replace('-', " ")) } }
}

fn is_bad(state: DomainState) -> bool {
    match state {
        DomainState::BackingOff | DomainState::Lost | DomainState::Unowned => true,
        DomainState::Asleep
        | DomainState::Loading
        | DomainState::Idle
        | DomainState::Collecting
        | DomainState::Extracting
        | DomainState::Comparing
        | DomainState::Storing => false,
    }
}

fn pager(asked: &DomainSearch, page: usize, pages: usize, found: usize) -> Markup {
    let to = |page: usize| {
        links::query([
            ("q", asked.q.as_str()),
            ("only", &asked.only),
            ("page", &page.to_string()),
        ])
    };
    html! {
        nav.pager aria-label="Pages" {
            @if page > 1 { a rel="prev" href=(format!("/{}", to(page - 1))) { "← Before" } }
            span { (count(found as u64)) " found"
                @if pages > 1 { ", page " (page) " of " (pages) } }
            @if page < pages { a rel="next" href=(format!("/{}", to(page + 1))) { "Next →" } }
        }
    }
}

/// What to do while there are no domains.
fn first() -> Markup {
    html! {
        section.first {
            h2 { "There are no domains yet" }
            p { "A domain is registered by its first item. Publish one:" }
            pre tabindex="0" role="region" aria-label="Command" { code {
                "curl -X PUT http://127.0.0.1:8080/v1/domains/news.example/items/a-17 \\\n  -H 'content-type: application/json' \\\n  -d '{\"title\": \"Glaciers flow like thick honey\"}'"
            } }
            p { "Or try the sample: " code { "kindred demo" } "." }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    fn domain(name: &str, trouble: Option<&str>) -> DomainAnswer {
        serde_json::from_value(json!({"domain": name, "model": "words-1", "state": "idle", "quiet": true, "live": 3,
            "visible": 2, "pending": 0, "registered_at": "2026-11-23T09:00:00.000Z", "trouble": trouble})).expect("a domain")
    }

    #[test]
    fn a_domain_has_its_own_events_and_freshness() {
        let mut lively = domain("lively", None);
        lively.recent = serde_json::from_value(json!({"over_seconds": 300.0, "events": 1200,
            "freshness": {"p50_seconds": 0.31, "p99_seconds": 1.25, "events": 1100}}))
        .expect("figures");
        let domains = [lively, domain("calm", None)];
        let text = page(&frame(), &domains, None, &[], &DomainSearch::default());
        let row = |name: &str| {
            let from = text.find(&format!(">{name}<")).expect("the domain");
            let row = &text[from..];
            row[..row.find("</tr>").expect("a row")].to_owned()
        };
        let lively = row("lively");
        assert!(
            lively.contains("1\u{202f}200")
                && lively.contains("310 ms")
                && lively.contains("1.2 s"),
            "{lively}"
        );
        assert!(!row("calm").contains(" ms"));
    }

    #[test]
    fn a_page_has_so_many_and_leads_to_the_next() {
        let domains: Vec<_> = (0..250)
            .map(|n| domain(&format!("d{n:03}"), None))
            .collect();
        let asked = DomainSearch {
            page: 2,
            ..DomainSearch::default()
        };
        let text = page(&frame(), &domains, None, &[], &asked);
        assert_eq!(text.matches("<th scope=\"row\"").count(), 100);
        assert!(text.contains(">d100<") && !text.contains(">d099<"));
        assert!(text.contains("href=\"/?page=3\"") && text.contains("href=\"/?page=1\""));
        let asked = DomainSearch {
            q: "D24".to_owned(),
            page: 9,
            ..DomainSearch::default()
        };
        assert_eq!(
            page(&frame(), &domains, None, &[], &asked)
                .matches("<th scope=\"row\"")
                .count(),
            10
        );
    }

    #[test]
    fn trouble_is_found_and_said_as_text() {
        let domains = [domain("a", None), domain("b", Some("<disk> full"))];
        let asked = DomainSearch {
            only: "trouble".to_owned(),
            ..DomainSearch::default()
        };
        let text = page(&frame(), &domains, None, &[], &asked);
        assert!(text.contains("&lt;disk&gt; full") && !text.contains("href=\"/domains/a\""));
    }
}
