//! Similar items, and why they are similar.

use kindred_api::similar::{Computed, SimilarAnswer, SimilarItem, TermShare, WhyJson};
use maud::{Markup, html};

use crate::figures::{moment, score};
use crate::links;
use crate::words::marked;

/// The smallest share that does not round to 0.
const LEAST: f64 = 0.000_5;

/// The context of an answer.
pub(crate) struct Beside<'a> {
    pub(crate) domain: &'a str,
    /// The conditions that links to other items keep.
    pub(crate) query: &'a str,
    /// The item of the query, if it was about one.
    pub(crate) of: Option<&'a str>,
}

/// The answer to a query.
pub(crate) fn answer(answer: &SimilarAnswer, beside: &Beside<'_>) -> Markup {
    html! {
        p.beside {
            @match answer.computed { Computed::List => "From the stored list, exact for this query", Computed::Scan => "Computed now from all items" }
            " · " (answer.model)
            @if let Some(as_of) = &answer.as_of { " · as of " (moment(as_of)) }
            @if answer.stale { strong.bad { " · stale: too few copies of the database are available" } }
        }
        @if answer.similar.is_empty() {
            p.empty {
                @if answer.as_of.is_none() { "Its first list is being made. Look again in a moment." }
                @else { "No item is similar under these conditions." }
            }
        } @else {
            @if answer.similar.iter().any(|item| item.why.is_some()) { (legend()) }
            ol.neighbours {
                @for item in &answer.similar { (neighbour(item, beside)) }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Parts of the score" {
            li { span.key.k-words {} "shared words" }
            li { span.key.k-meaning {} "meaning" }
            li { span.key.k-rest {} "all other words" }
        }
    }
}

fn neighbour(item: &SimilarItem, beside: &Beside<'_>) -> Markup {
    let terms: Vec<&str> = item
        .why
        .iter()
        .flat_map(told)
        .map(|term| term.term.as_str())
        .collect();
    let id = item.id.as_str();
    let address = links::item(beside.domain, id) + beside.query;
    html! {
        li {
            div.nb-head {
                a.title href=(address) {
                    @match &item.title { Some(title) => (marked(title, &terms)), None => (id) }
                }
                @if item.fallback {
                    span.tag { "fallback" }
                } @else {
                    span.score title=(format!("score {}", item.score)) { span.unseen { "Score " } (score(f64::from(item.score))) }
                }
            }
            @if !item.fallback { (bar(f64::from(item.score), item.why.as_ref())) }
            @if let Some(why) = &item.why { (because(why)) }
            p.facts {
                code { (id) }
                @if let Some(rank) = item.rank { span { "rank " (score(rank)) } }
                @if let Some(group) = &item.group { span { (group) } }
                @for category in &item.categories { span { (category) } }
                @if let Some(at) = &item.published_at { span { (moment(at)) } }
                @if let Some(language) = &item.language { span { (language) } }
                @if let Some(of) = beside.of.filter(|_| !item.fallback) {
                    a href=(links::item(beside.domain, of) + &links::query([("with", id)])) { "Compare texts" span.unseen { ": " (item.title.as_deref().unwrap_or(id)) } }
                }
                @if !item.also.is_empty() {
                    span { "also " @for (at, id) in item.also.iter().enumerate() {
                        @if at > 0 { ", " } a href=(links::item(beside.domain, id.as_str())) { (id) }
                    } }
                }
            }
        }
    }
}

/// The terms that are shown: those whose share does not round to 0.
pub(crate) fn told(why: &WhyJson) -> impl Iterator<Item = &TermShare> {
    let terms = why.terms.iter().flatten();
    terms.filter(|term| term.share.abs() >= LEAST)
}

/// Shared words, by their contribution.
pub(crate) fn because(why: &WhyJson) -> Markup {
    html! {
        ul.why aria-label="Why" {
            @for term in told(why) {
                li { mark { (term.term) } " " span.share { (short(term.share)) } }
            }
            @if why.dense.abs() >= LEAST { li { "meaning " span.share { (short(why.dense)) } } }
            @if let Some(rest) = why.rest.filter(|rest| rest.abs() >= LEAST) {
                li { "others " span.share { (short(rest)) } }
            }
        }
    }
}

/// A part of a score, without the leading zero.
fn short(share: f64) -> String {
    let text = format!("{share:.3}");
    match text.strip_prefix("0.") {
        Some(rest) => format!(".{rest}"),
        None => text,
    }
}

pub(crate) fn bar_of(item: &SimilarItem) -> Markup {
    bar(f64::from(item.score), item.why.as_ref())
}

/// The score from 0 to 1 as a bar, divided into its parts if they are known.
fn bar(whole: f64, why: Option<&WhyJson>) -> Markup {
    let width = |share: f64| (share.clamp(0.0, 1.0) * 1_000.0).round();
    let parts = match why {
        None => vec![("k-meaning", width(whole))],
        Some(why) => {
            let terms: f64 = why.terms.iter().flatten().map(|term| term.share).sum();
            vec![
                ("k-words", width(terms)),
                ("k-meaning", width(why.dense)),
                ("k-rest", width(why.rest.unwrap_or_default())),
            ]
        }
    };
    let mut from = 0.0;
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="1000" height="10" {}
            @for (class, width) in parts {
                rect class=(class) x=(from) width=(width) height="10" {}
                ({ from += width; "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shared_words_are_marked_and_a_bar_is_made_of_what_gives_the_score() {
        let item: SimilarItem = serde_json::from_value(json!({
            "id": "a/b", "score": 0.5, "title": "<Ice> moves",
            "why": {"dense": 0.2, "terms": [{"term": "ice", "share": 0.25}], "rest": 0.05},
        }))
        .expect("an item");
        let text = neighbour(
            &item,
            &Beside {
                domain: "d.example",
                query: "?limit=3",
                of: Some("x"),
            },
        )
        .into_string();
        assert!(text.contains("&lt;<mark>Ice</mark>&gt; moves"), "{text}");
        assert!(
            text.contains("href=\"/domains/d.example/items/a%2Fb?limit=3\""),
            "{text}"
        );
        assert!(
            text.contains("<rect class=\"k-meaning\" x=\"250\" width=\"200\""),
            "{text}"
        );
        assert!(text.contains(">.250<"), "{text}");
    }

    #[test]
    fn what_fills_up_has_no_score() {
        let item: SimilarItem =
            serde_json::from_value(json!({"id": "a", "score": 0.0, "fallback": true}))
                .expect("an item");
        let text = neighbour(
            &item,
            &Beside {
                domain: "d",
                query: "",
                of: None,
            },
        )
        .into_string();
        assert!(text.contains("fallback") && !text.contains("svg"));
    }
}
