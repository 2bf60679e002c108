//! Two items side by side, with the words they share marked in place.

use kindred_api::item::Item;
use kindred_api::path;
use kindred_api::problem::Problem;
use kindred_api::similar::SimilarAnswer;
use maud::{Markup, html};

use crate::figures::moment;
use crate::frame::{Frame, HeaderLink, Live, copied};
use crate::links;
use crate::neighbours::{bar_of, because, told};
use crate::problem;
use crate::words::marked;

/// Longest text that is shown, in characters.
const SHOWN: usize = 20_000;

/// The query that explains why two items are similar.
pub fn query(a: &str, b: &str) -> String {
    serde_json::json!({
        "items": [{"id": a}], "explain": true, "limit": 1, "collapse": "none", "diversity": "none", "half_life": "none",
        "balance": false, "min_score": "none", "exclude": "none", "fallback": "none",
        "filter": {"all": [{"field": "id", "in": [b]}]},
    })
    .to_string()
}

/// The view; `why` is the answer to [`query`].
pub fn page(frame: &Frame, a: &Item, b: &Item, why: &Result<SimilarAnswer, Problem>) -> String {
    let domain = a.domain.as_str();
    let found = why.as_ref().ok().and_then(|answer| answer.similar.first());
    let terms: Vec<&str> = found
        .iter()
        .flat_map(|item| item.why.iter())
        .flat_map(told)
        .map(|term| term.term.as_str())
        .collect();
    let keyed = if frame.who == crate::Who::Anyone {
        ""
    } else {
        " -H \"Authorization: Bearer $KINDRED_KEY\""
    };
    let curl = format!(
        "curl{keyed} '{}{}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{}'",
        frame.base,
        path::queries(domain),
        query(a.id.as_str(), b.id.as_str()).replace('\'', "'\\''")
    );
    let body = html! {
        p.crumbs { a href="/" { "Domains" } " / " a href=(links::domain(domain, "")) { (domain) } " / "
            a href=(links::item(domain, a.id.as_str())) { (name(a)) } }
        h1 { "Why these two are similar" }
        @match (why, found) {
            (Err(error), _) => (problem::note(error)),
            (Ok(_), None) => p.lead { "These items have nothing in common, or one of them is not visible." },
            (Ok(_), Some(item)) => {
                div.measure {
                    p.score { span.unseen { "Score " } (crate::figures::score(f64::from(item.score))) }
                    (bar_of(item))
                    @if let Some(why) = &item.why { (because(why)) }
                }
            },
        }
        div.pair { (side(domain, a, &terms)) (side(domain, b, &terms)) }
        (copied("curl", &curl))
    };
    frame.page(
        &format!("{} and {}", name(a), name(b)),
        HeaderLink::Domains,
        Live::No,
        &body,
    )
}

fn name(item: &Item) -> &str {
    item.title.as_deref().unwrap_or(item.id.as_str())
}

fn side(domain: &str, item: &Item, terms: &[&str]) -> Markup {
    let text = item.text.as_deref().unwrap_or_default();
    let shown = text
        .char_indices()
        .nth(SHOWN)
        .map_or(text, |(end, _)| &text[..end]);
    html! {
        article {
            h2 { a.title href=(links::item(domain, item.id.as_str())) { (marked(name(item), terms)) } }
            p.facts { code { (item.id) }
                @if let Some(at) = &item.published_at { span { (moment(at)) } }
                @if let Some(language) = &item.language { span { (language) } } }
            @for part in shown.split("\n\n").map(str::trim).filter(|part| !part.is_empty()) {
                p.text { (marked(part, terms)) }
            }
            @if shown.len() < text.len() { p.beside { "The rest of the text is not shown." } }
            @if text.is_empty() { p.empty { "This item has no text." } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    fn item(id: &str, text: &str) -> Item {
        serde_json::from_value(json!({"domain": "d.example", "id": id, "version": 1, "status": "live", "title": "On <ice>",
            "status_since": "2026-11-23T09:00:00.000Z", "categories": [], "hidden": false, "attributes": {}, "text": text})).expect("an item")
    }

    #[test]
    fn shared_words_are_marked_in_both_texts() {
        let why = json!({"domain": "d.example", "model": "words-1", "computed": "list", "similar": [{"id": "b", "score": 0.5,
            "why": {"dense": 0.2, "terms": [{"term": "ice", "share": 0.3}, {"term": "no", "share": 0.0001}], "rest": 0.0}}]});
        let why: SimilarAnswer = serde_json::from_value(why).expect("an answer");
        let why = Ok(why);
        let text = page(
            &frame(),
            &item("a'", "Ice creeps.\n\nSlowly."),
            &item("b", "No <b>ice</b>"),
            &why,
        );
        assert_eq!(text.matches("<mark>").count(), 5, "{text}");
        assert!(text.contains("No &lt;b&gt;<mark>ice</mark>&lt;/b&gt;") && text.contains("0.500"));
        assert!(text.contains("a'\\''"), "{text}");
        let none = page(
            &frame(),
            &item("a", ""),
            &item("b", "x"),
            &why.map(|why| SimilarAnswer {
                similar: Vec::new(),
                ..why
            }),
        );
        assert!(none.contains("nothing in common") && none.contains("This item has no text."));
    }
}
