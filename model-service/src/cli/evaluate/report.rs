//! The report as a page: one file without external assets.

use std::fmt::Write;

use super::Report;
use super::input::Items;
use super::measure::{Evaluation, Said};
use super::metrics::{Measured, Random};
use super::systems::System;

/// Lists shown of the best and of the worst; random ones where nothing tells good from bad.
const SHOWN: usize = 5;
/// Answers shown per list.
const PLACES: usize = 8;

/// The page.
pub(super) fn page(report: &Report, systems: &[System], items: &Items, said: &Said) -> String {
    let mut page = String::new();
    let title = format!(
        "{} items, {} ways to relate them",
        report.items,
        report.systems.len()
    );
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p \
         class=lead>Kindred {}. Bars are means or correlations, whiskers their 95 % intervals \
         (bootstrap). Systems differ where their intervals lie far apart; where intervals \
         overlap much, they may not.</p>",
        report.version
    );
    measures(&mut page, &report.systems);
    standing(&mut page, &report.systems);
    agreement(&mut page, report, systems, items, said);
    lists(&mut page, report, systems, items, said);
    page.push_str("</main></html>\n");
    page
}

fn measures(page: &mut String, systems: &[Evaluation]) {
    let mut names: Vec<&str> = systems
        .iter()
        .flat_map(|one| one.measures.keys().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        page.push_str(
            "<p>No judgements, links or tags were given: below is what can be said about the \
            lists without them.</p>",
        );
    }
    for name in names {
        let of: Vec<(&str, &Measured)> = systems
            .iter()
            .filter_map(|one| Some((one.name.as_str(), one.measures.get(name)?)))
            .collect();
        let questions = of.first().map_or(0, |(_, measured)| measured.of);
        let _ = write!(
            page,
            "<section><h2>{}</h2><p>{} <span class=dim>{questions} {}</span></p>",
            escaped(name),
            explained(name),
            if name.starts_with("judgements") {
                "pairs"
            } else {
                "questions"
            },
        );
        chart(page, &of);
        page.push_str("</section>");
    }
}

/// Explains a measure to readers who do not know its name.
fn explained(name: &str) -> &'static str {
    match name {
        "judgements Pearson" => "How well scores follow people's ratings of pairs, by value.",
        "judgements Spearman" => "How well scores follow people's ratings of pairs, by rank.",
        "links hit@5" => {
            "How often one of the first five answers is an item that the author linked to."
        }
        "links recall@10" => {
            "Share of the items the author linked to that are in the first ten answers."
        }
        "links MRR" => "One divided by the rank of the first item that the author linked to.",
        "tags nDCG@10" => {
            "How much the first ten answers share labels with the item; higher ranks count more."
        }
        _ => "",
    }
}

const LABEL: f64 = 130.0;
const WIDTH: f64 = 460.0;
const BAR: f64 = 26.0;

fn chart(page: &mut String, of: &[(&str, &Measured)]) {
    let height = BAR * of.len() as f64 + 4.0;
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {} {height}\" role=img aria-label=\"bar chart\">",
        LABEL + WIDTH + 70.0
    );
    let x = |value: f64| LABEL + value.clamp(0.0, 1.0) * WIDTH;
    let best = of.iter().map(|(_, one)| one.value).fold(f64::MIN, f64::max);
    for (n, (name, measured)) in of.iter().enumerate() {
        let top = BAR * n as f64 + 4.0;
        let middle = top + 9.0;
        let class = if measured.value >= best {
            " class=best"
        } else {
            ""
        };
        let _ = write!(
            page,
            "<text x=\"{}\" y=\"{}\" text-anchor=end>{}</text><rect{class} x=\"{LABEL}\" y=\"{top}\" width=\"{:.1}\" \
             height=18 rx=2 /><path d=\"M{:.1} {middle}H{:.1}\"/><text x=\"{:.1}\" y=\"{}\" class=value>{:.3}</text>",
            LABEL - 8.0,
            middle + 4.0,
            escaped(name),
            x(measured.value) - LABEL,
            x(measured.low),
            x(measured.high),
            x(measured.high.max(measured.value)) + 8.0,
            middle + 4.0,
            measured.value,
        );
    }
    page.push_str("</svg>");
}

fn standing(page: &mut String, systems: &[Evaluation]) {
    page.push_str(
        "<section><h2>Statistics of lists</h2><p>An item that is first in many lists is a hub: \
         its similarity says little. Items in no list are never found.</p><div \
         class=wide><table><tr><th><th>have a list<th>most first places<th>most first \
         tens<th>never listed<th>near-duplicates",
    );
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    for one in systems {
        let lists = &one.lists;
        let near = lists
            .near_duplicates
            .map_or_else(|| "–".to_owned(), percent);
        let _ = write!(
            page,
            "<tr><th>{}<td>{}<td>{}<td>{}<td>{}<td>{near}",
            escaped(&one.name),
            percent(lists.with_list),
            percent(lists.most_first_places),
            percent(lists.most_first_ten),
            percent(lists.never_listed),
        );
    }
    page.push_str("</table></div></section>");
}

fn agreement(page: &mut String, report: &Report, systems: &[System], items: &Items, said: &Said) {
    if report.agreement.is_empty() {
        return;
    }
    page.push_str(
        "<section><h2>Agreement</h2><p>How many of the first ten both have, on average, and how often both begin \
         with the same item.</p><div class=wide><table><tr><th><th>first tens<th>same first",
    );
    for one in &report.agreement {
        let (a, b) = (escaped(&one.a), escaped(&one.b));
        let (overlap, same_first) = (100.0 * one.overlap, 100.0 * one.same_first);
        let _ = write!(
            page,
            "<tr><th>{a} and {b}<td>{overlap:.1} %<td>{same_first:.1} %"
        );
    }
    page.push_str("</table></div></section>");
    // The first two are the models asked for, or a model and a baseline.
    let Some(first) = report.agreement.first() else {
        return;
    };
    let is_one = |system: &&System| [&first.a, &first.b].contains(&&system.name);
    let of_both: Vec<&System> = systems.iter().filter(is_one).collect();
    let (a, b) = (escaped(&first.a), escaped(&first.b));
    let _ = write!(page, "<section><h2>Where {a} and {b} differ most</h2>");
    for (item, _) in first.by_item.iter().take(2 * SHOWN) {
        side_by_side(page, *item, &of_both, items, said);
    }
    page.push_str("</section>");
}

fn lists(page: &mut String, report: &Report, systems: &[System], items: &Items, said: &Said) {
    let Some((first, measured)) = systems.first().zip(report.systems.first()) else {
        return;
    };
    let mut questions: Vec<(usize, f64)> = measured
        .by_question
        .iter()
        .map(|(item, value)| (*item, *value))
        .collect();
    questions.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let all: Vec<&System> = systems.iter().collect();
    let mut section = |heading: &str, questions: &[(usize, f64)]| {
        let _ = write!(page, "<section><h2>{heading}</h2>");
        for (item, _) in questions {
            side_by_side(page, *item, &all, items, said);
        }
        page.push_str("</section>");
    };
    let name = escaped(&first.name);
    if questions.is_empty() {
        let mut random = Random(7);
        let some = (0..2 * SHOWN).map(|_| (random.below(items.len()), 0.0));
        section("Some lists", &some.collect::<Vec<_>>());
        return;
    }
    let shown = SHOWN.min(questions.len());
    section(&format!("Worst lists of {name}"), &questions[..shown]);
    let mut best = questions.split_off(questions.len() - shown);
    best.reverse();
    section(&format!("Best lists of {name}"), &best);
}

fn side_by_side(page: &mut String, item: usize, systems: &[&System], items: &Items, said: &Said) {
    let title = |item: usize| {
        let item = &items.all[item];
        let title = item
            .title
            .as_deref()
            .filter(|title| !title.trim().is_empty());
        let title = title.unwrap_or(item.id.as_str());
        let words = kindred_domain::markup::plain_text(title);
        escaped(&words.chars().take(120).collect::<String>())
    };
    let linked = said.links.as_ref().and_then(|links| links.get(&item));
    let labels = said.tags.as_ref().map(|field| items.labels(item, field));
    let _ = write!(page, "<article><h3>{}</h3>", title(item));
    if let Some(labels) = &labels {
        let labels: Vec<&str> = labels.iter().copied().take(12).collect();
        let _ = write!(page, "<p class=dim>{}</p>", escaped(&labels.join(", ")));
    }
    if let Some(linked) = linked {
        let titles: Vec<String> = linked.iter().take(5).map(|other| title(*other)).collect();
        let _ = write!(page, "<p class=dim>links to: {}</p>", titles.join("; "));
    }
    page.push_str("<div class=columns>");
    for system in systems {
        let _ = write!(page, "<div><h4>{}</h4><ol>", escaped(&system.name));
        for answer in system.lists[item].iter().take(PLACES) {
            let mut mark = "";
            if linked.is_some_and(|linked| linked.contains(&answer.item)) {
                mark = " class=hit";
            } else if let (Some(labels), Some(field)) = (&labels, &said.tags)
                && items
                    .labels(answer.item, field)
                    .intersection(labels)
                    .next()
                    .is_some()
            {
                mark = " class=hit";
            }
            let _ = write!(
                page,
                "<li{mark}>{} <span class=dim>{:.2}</span>",
                title(answer.item),
                answer.score
            );
        }
        page.push_str("</ol></div>");
    }
    page.push_str("</div></article>");
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1b19;--paper:#fbfaf7;--dim:#6d6a63;--line:#dedad0;--bar:#b9c6c2;--best:#1f7a6b}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e5de;--paper:#171613;--dim:#9b968b;--line:#37342e;--bar:#3d4a47;--best:#4fb3a1}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:64rem;margin:0 auto;padding:2.5rem 1.25rem 5rem}h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem}\
h2{font-size:1.2rem;margin:2.5rem 0 .25rem}h3{font-size:1rem;margin:0}h4{font-size:.8rem;margin:0 0 .25rem;color:var(--dim);\
font-weight:600}.lead{max-width:44rem;color:var(--dim)}p{margin:.25rem 0 .75rem}.dim{color:var(--dim);font-size:.875em}\
svg{width:100%;max-width:44rem;height:auto;font-size:13px}svg text{fill:var(--ink)}svg rect{fill:var(--bar)}svg rect.best{fill:var(--best)}\
svg path{stroke:var(--ink);stroke-width:1.5}.value{font-variant-numeric:tabular-nums}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.35rem .9rem .35rem 0;text-align:left;\
border-bottom:1px solid var(--line);font-weight:400}th{color:var(--dim)}article{border-top:1px solid var(--line);padding:1rem 0}\
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1.25rem;margin-top:.5rem}\
ol{margin:0;padding-left:1.4rem;font-size:.9rem}li{margin:.15rem 0;overflow-wrap:anywhere}li.hit{color:var(--best);font-weight:600}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_become_markup() {
        assert_eq!(escaped("<b>\"&\""), "&lt;b&gt;&quot;&amp;&quot;");
    }
}
