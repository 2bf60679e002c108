//! An item, its neighbours, and how to make the same query elsewhere.

use kindred_api::item::{GoneItem, Item, ItemAnswer, Status};
use kindred_api::path;
use kindred_api::problem::Problem;
use kindred_api::similar::SimilarAnswer;
use maud::{Markup, html};

use crate::conditions::ConditionsForm;
use crate::figures::moment;
use crate::frame::{Frame, HeaderLink, Live, copied};
use crate::links;
use crate::neighbours::{Beside, answer};
use crate::problem;

/// The view; the neighbours may be a problem instead.
pub fn page(
    frame: &Frame,
    item: &ItemAnswer,
    similar: &Result<SimilarAnswer, Problem>,
    asked: &ConditionsForm,
) -> String {
    match item {
        ItemAnswer::There(item) => there(frame, item, similar, asked),
        ItemAnswer::Gone(item) => gone(frame, item),
    }
}

fn there(
    frame: &Frame,
    item: &Item,
    similar: &Result<SimilarAnswer, Problem>,
    asked: &ConditionsForm,
) -> String {
    let (domain, id) = (item.domain.as_str(), item.id.as_str());
    let title = item.title.as_deref().unwrap_or(id);
    let query = asked.query(false);
    let body = html! {
        (crumbs(domain))
        h1.title { (title) }
        (facts(item))
        div.split {
            section aria-labelledby="similar" {
                h2 #similar { "Similar" }
                @match similar {
                    Ok(similar) => (answer(similar, &Beside { domain, query: &query, of: Some(id) })),
                    Err(error) => (problem::note(error)),
                }
            }
            aside aria-label="Conditions and code" {
                form.conditions action=(links::item(domain, id)) data-search {
                    h2 { "Conditions " small { (asked.summary()) } }
                    (asked.fields())
                    div.row { button { "Ask" } a href=(links::item(domain, id)) { "Clear conditions" } }
                }
                (code(frame, domain, id, asked))
            }
        }
    };
    frame.page(title, HeaderLink::Domains, Live::No, &body)
}

/// The same query as an address, a command and a snippet.
fn code(frame: &Frame, domain: &str, id: &str, asked: &ConditionsForm) -> Markup {
    let address = format!(
        "{}{}/similar{}",
        frame.base,
        path::item(domain, id),
        asked.query(false)
    );
    let keyed = if frame.who == crate::Who::Anyone {
        ""
    } else {
        " -H \"Authorization: Bearer $KINDRED_KEY\""
    };
    let curl = format!("curl{keyed} '{address}'");
    let attribute = |text: &str| {
        text.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
    };
    let embed = format!(
        "<div data-kindred-domain=\"{}\" data-kindred-item=\"{}\"></div>\n<script src=\"{}/embed.js\" async></script>",
        attribute(domain),
        attribute(id),
        frame.base
    );
    html! {
        h2 { "Use this query" }
        (copied("Address", &address))
        (copied("curl", &curl))
        (copied("Snippet for a page", &embed))
    }
}

fn crumbs(domain: &str) -> Markup {
    html! { p.crumbs { a href="/" { "Domains" } " / " a href=(links::domain(domain, "")) { (domain) } } }
}

fn facts(item: &Item) -> Markup {
    let class = match item.status {
        Status::Live => "state s-quiet",
        Status::Rejected => "state s-bad",
        Status::Accepted => "state s-busy",
        Status::Scheduled | Status::Deleted | Status::Expired => "state s-asleep",
    };
    html! {
        p.facts.of-item {
            code { (item.id) }
            span class=(class) { (word(item.status)) }
            @if item.hidden { span.tag { "hidden" } }
            @if let Some(group) = &item.group { span { (group) } }
            @for category in &item.categories { span { (category) } }
            @if let Some(language) = &item.language { span { (language) @if item.language_given.is_none() { " (detected)" } } }
            @if let Some(at) = &item.published_at { span { "published " (moment(at)) } }
            @if let Some(url) = item.url.as_deref().filter(|url| is_web(url)) { a href=(url) rel="noreferrer" { "Open the page" } }
        }
        @if let Some(reason) = &item.status_reason { p.note { (reason) } }
        details.more {
            summary { "All fields" }
            dl.pairs {
                dt { "Version" } dd { (item.version) }
                dt { "Status since" } dd { (moment(&item.status_since)) }
                @if let Some(at) = &item.served_since { dt { "Served since" } dd { (moment(at)) } }
                @if let Some(at) = &item.accepted_at { dt { "First accepted" } dd { (moment(at)) } }
                @if let Some(at) = &item.publish_at { dt { "Visible from" } dd { (moment(at)) } }
                @if let Some(at) = &item.expires_at { dt { "Expires" } dd { (moment(at)) } }
                @if let Some(url) = &item.url { dt { "Address" } dd { (url) } }
                @if let Some(image) = &item.image { dt { "Picture" } dd { (image) } }
                @for (name, value) in &item.attributes { dt { code { (name) } } dd { (value) } }
            }
        }
    }
}

/// Whether an address is HTTP; others could be scripts.
fn is_web(url: &str) -> bool {
    let url = url.trim_start().to_ascii_lowercase();
    url.starts_with("https://") || url.starts_with("http://")
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Accepted => "accepted, its list is being made",
        Status::Live => "live",
        Status::Scheduled => "scheduled",
        Status::Rejected => "rejected",
        Status::Deleted => "deleted",
        Status::Expired => "expired",
    }
}

fn gone(frame: &Frame, item: &GoneItem) -> String {
    let body = html! {
        (crumbs(item.domain.as_str()))
        h1.title { (item.id) }
        p.lead { "This item is " (word(item.status)) " (since " (moment(&item.status_since)) "). Its content is not shown." }
    };
    frame.page(item.id.as_str(), HeaderLink::Domains, Live::No, &body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn an_address_that_is_a_script_leads_nowhere() {
        let item: ItemAnswer = serde_json::from_value(json!({"domain": "d.example", "id": "a\"<b", "version": 1, "status": "live",
            "status_since": "2026-11-23T09:00:00.000Z", "url": "javascript:alert(1)", "categories": [], "hidden": false,
            "attributes": {}})).expect("an item");
        let similar = serde_json::from_value(
            json!({"domain": "d.example", "model": "words-1", "computed": "list", "similar": []}),
        );
        let text = page(
            &frame(),
            &item,
            &Ok(similar.expect("an answer")),
            &ConditionsForm::default(),
        );
        assert!(!text.contains("href=\"javascript"), "{text}");
        assert!(
            text.contains("data-kindred-item=&quot;a&amp;quot;&amp;lt;b&quot;"),
            "{text}"
        );
        assert!(text.contains("/v1/domains/d.example/items/a%22%3Cb/similar"));
        assert!(text.contains("Its first list is being made"));
    }

    #[test]
    fn of_what_is_gone_nothing_is_told() {
        let item: ItemAnswer = serde_json::from_value(
            json!({"domain": "d.example", "id": "a", "version": 1, "status": "deleted",
            "status_since": "2026-11-23T09:00:00.000Z"}),
        )
        .expect("an item");
        let problem: Problem = serde_json::from_value(
            json!({"type": "/problems/unknown-item", "title": "t", "status": 404, "detail": "x"}),
        )
        .expect("a problem");
        assert!(
            page(&frame(), &item, &Err(problem), &ConditionsForm::default())
                .contains("This item is deleted (since")
        );
    }
}
