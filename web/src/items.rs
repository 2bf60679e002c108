//! The items of a domain, searched and filtered, page by page.

use kindred_api::domain::DomainAnswer;
use kindred_api::item::{ItemsAnswer, ListedItem};
use maud::{Markup, html};

use crate::domains::{recent, state};
use crate::figures::{count, counted, moment};
use crate::frame::{Frame, Tab};
use crate::links;

/// Items per page.
pub const PAGE: &str = "50";

/// The fields of the form that are passed to the interface, by the interface's names.
pub const FIELDS: [&str; 8] = [
    "q",
    "sort",
    "category",
    "group",
    "language",
    "published_after",
    "published_before",
    "after",
];

/// The description of a domain below its name.
pub(crate) fn of_domain(domain: &DomainAnswer) -> Markup {
    html! {
        (state(domain)) " · " (counted(domain.visible, "visible item", "visible items"))
        @if domain.live > domain.visible { ", " (count(domain.live - domain.visible)) " hidden or scheduled" }
        @if domain.pending > 0 { " · " strong { (counted(domain.pending, "list to be made", "lists to be made")) } }
        " · " (domain.model) (recent(domain))
    }
}

/// The view; `fields` are those of its form.
pub fn page(
    frame: &Frame,
    domain: &DomainAnswer,
    items: &ItemsAnswer,
    fields: &[(String, String)],
) -> String {
    let name = domain.domain.as_str();
    let value = |of: &str| {
        fields
            .iter()
            .find(|(name, _)| name == of)
            .map_or("", |(_, value)| value.as_str())
    };
    let (title, head) = (name, frame.domain_head(name, &of_domain(domain)));
    let pairs: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let body = html! {
        @if let Some(trouble) = &domain.trouble { p.note role="alert" { strong { "Trouble. " } (trouble) } }
        (form(name, &value))
        @if items.items.is_empty() {
            p.empty { @if items.next.is_some() { "No item on this page matches. There may be some on the next page." } @else { "No item matches." } }
        } @else {
            ul.items { @for item in &items.items { (row(name, item)) } }
        }
        nav.pager aria-label="Pages" {
            @if !value("after").is_empty() {
                a rel="first" href=(links::domain(name, &links::query(pairs.iter().copied().filter(|(name, _)| *name != "after")))) { "⇤ First page" }
            }
            span { (counted(items.items.len() as u64, "item", "items")) " on this page" }
            @if let Some(next) = &items.next {
                @let next = pairs.iter().copied().filter(|(name, _)| *name != "after").chain([("after", next.as_str())]);
                a rel="next" href=(links::domain(name, &links::query(next))) { "Next →" }
            }
        }
    };
    frame.domain_page(name, Tab::Items, title, &head, &body)
}

fn form<'a>(name: &str, value: &dyn Fn(&str) -> &'a str) -> Markup {
    let line = |of: &str, label: &str, example: &str| {
        html! { label { span { (label) " " code { (of) } } input name=(of) value=(value(of)) placeholder=(example) autocomplete="off"; } }
    };
    let is_filtered = FIELDS[2..7].iter().any(|of| !value(of).is_empty());
    html! {
        form role="search" action=(links::domain(name, "")) data-search {
            div.search {
                label.grow { span.unseen { "Words in the title or the id" }
                    input type="search" name="q" value=(value("q")) placeholder="Words in the title or the id" autocomplete="off"; }
                label { span.unseen { "Order" }
                    select name="sort" {
                        option value="" { "by id" }
                        option value="newest" selected[value("sort") == "newest"] { "newest first" }
                    } }
                button { "Find" }
            }
            details.more open[is_filtered] {
                summary { "Filters" }
                div.fields {
                    (line("category", "Category", "rail")) (line("group", "Group", "travel")) (line("language", "Language", "en"))
                    (line("published_after", "Published at or after", "2026-01-31T00:00:00Z"))
                    (line("published_before", "Published before", "2026-12-31T00:00:00Z"))
                }
            }
        }
    }
}

fn row(domain: &str, item: &ListedItem) -> Markup {
    let id = item.id.as_str();
    html! {
        li {
            a.title href=(links::item(domain, id)) { @match &item.title { Some(title) => (title), None => (id) } }
            @if item.hidden { span.tag { "hidden" } }
            @if let Some(at) = &item.publish_at { span.tag { "from " (moment(at)) } }
            p.facts {
                code { (id) }
                @if let Some(group) = &item.group { span { (group) } }
                @for category in &item.categories { span { (category) } }
                span { (moment(item.published_at.as_ref().unwrap_or(&item.accepted_at))) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn the_next_page_is_asked_for_with_the_same_words() {
        let domain = serde_json::from_value(json!({"domain": "d.example", "model": "words-1", "state": "asleep", "quiet": true,
            "live": 3, "visible": 2, "pending": 0, "registered_at": "2026-11-23T09:00:00.000Z", "trouble": null})).expect("a domain");
        let items = serde_json::from_value(json!({"items": [
            {"id": "a/1", "version": 1, "title": "<i>Ice</i>", "accepted_at": "2026-11-23T09:00:00.000Z", "hidden": true}],
            "next": "i:b"})).expect("a page");
        let fields = [
            ("q".to_owned(), "ice & snow".to_owned()),
            ("after".to_owned(), "i:a".to_owned()),
        ];
        let text = page(&frame(), &domain, &items, &fields);
        assert!(
            text.contains("href=\"/domains/d.example?q=ice%20%26%20snow&amp;after=i%3Ab\""),
            "{text}"
        );
        assert!(text.contains("href=\"/domains/d.example?q=ice%20%26%20snow\""));
        assert!(
            text.contains("&lt;i&gt;Ice")
                && text.contains("/items/a%2F1\"")
                && text.contains("hidden")
        );
    }
}
