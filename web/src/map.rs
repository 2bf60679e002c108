//! The map: a domain in two dimensions.

use std::collections::HashMap;
use std::fmt::Write;

use kindred_api::domain::DomainAnswer;
use kindred_api::map::{MapAnswer, MapItem};
use kindred_api::problem::Problem;
use maud::{Markup, html};

use crate::figures::{count, moment};
use crate::frame::{Frame, Tab};
use crate::items::of_domain;
use crate::links;
use crate::problem;

/// Categories with a colour of their own; more could not be distinguished.
const COLOURS: usize = 8;
/// Titles shown on the map before zooming.
const LABELS: usize = 28;
/// Longest label, in characters.
const LABEL: usize = 34;
/// The size of a label, in units of the map.
const LABEL_HEIGHT: f32 = 24.0;
const LABEL_CHARACTER: f32 = 9.2;
/// Where the buttons are, in units of the map: left and bottom.
const BUTTONS: [f32; 2] = [1_370.0, 80.0];
/// The aspect ratio of the drawing.
const WIDE: f32 = 1.6;

/// The view; the map may be a problem instead.
pub fn page(frame: &Frame, domain: &DomainAnswer, map: &Result<MapAnswer, Problem>) -> String {
    let name = domain.domain.as_str();
    let head = frame.domain_head(name, &of_domain(domain));
    let body = html! {
        @match map {
            Err(error) => (problem::note(error)),
            Ok(map) if map.items.is_empty() => p.empty { "There are no visible items to show." },
            Ok(map) => (drawn(name, map)),
        }
    };
    frame.domain_page(name, Tab::Map, &format!("Map of {name}"), &head, &body)
}

fn drawn(domain: &str, map: &MapAnswer) -> Markup {
    let shown = map.items.len() as u64;
    let colours = &map.categories[..map.categories.len().min(COLOURS)];
    let labelled = labelled(map);
    html! {
        p.beside {
            @if shown < map.of { (count(shown)) " of " (count(map.of)) " items" } @else { (count(shown)) " items" }
            ". Similar items are close to each other; lines connect nearest neighbours. As of " (moment(&map.as_of)) "."
        }
        @if !colours.is_empty() {
            ul.legend aria-label=(if map.by == "group" { "Groups" } else { "Categories" }) {
                @for (at, category) in colours.iter().enumerate() {
                    li { span class=(format!("key c{at}")) {} (category) " " span.soft { (count(of_category(map, at))) } }
                }
                @if map.items.iter().any(|item| !has_colour(item)) { li { span.key.cx {} "others" } }
            }
        }
        div.map #map {
            svg viewBox="0 0 1600 1000" role="group" aria-label=(format!("Map of {domain}: {shown} items")) {
                path.links d=(lines(map)) {}
                g.dots {
                    @for (at, item) in map.items.iter().enumerate() {
                        @let is_labelled = labelled.contains(&at);
                        a href=(links::item(domain, &item.id)) tabindex=[(!is_labelled).then_some("-1")] aria-label=(name(item)) {
                            circle class=(colour(item)) cx=(place(item.x * WIDE)) cy=(place(item.y)) r="6" { title { (name(item)) } }
                        }
                    }
                }
                g.labels aria-hidden="true" {
                    @for at in &labelled {
                        @let item = &map.items[*at];
                        text x=(place(item.x * WIDE + 10.0)) y=(place(item.y + 6.0)) { (label(item)) }
                    }
                }
            }
            div.zoom hidden {
                button type="button" data-zoom="in" aria-label="Zoom in" { "+" }
                button type="button" data-zoom="out" aria-label="Zoom out" { "−" }
                button type="button" data-zoom="all" aria-label="Show all" { "All" }
            }
        }
        p.beside { "Drag to move, scroll or pinch to zoom; with the keyboard: arrows, + and −. The same as JSON: "
            a href=(format!("/v1{}", links::domain(domain, "/map"))) { "/v1" (links::domain(domain, "/map")) } }
    }
}

fn name(item: &MapItem) -> &str {
    item.title.as_deref().unwrap_or(&item.id)
}

fn label(item: &MapItem) -> String {
    let name = name(item);
    match name.char_indices().nth(LABEL) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", name[..end].trim_end()),
    }
}

fn has_colour(item: &MapItem) -> bool {
    item.category
        .is_some_and(|category| (category as usize) < COLOURS)
}

fn colour(item: &MapItem) -> String {
    match item.category {
        Some(category) if has_colour(item) => format!("c{category}"),
        _ => "cx".to_owned(),
    }
}

fn of_category(map: &MapAnswer, category: usize) -> u64 {
    let of = map
        .items
        .iter()
        .filter(|item| item.category == u32::try_from(category).ok());
    of.count() as u64
}

/// A coordinate, with no more digits than can be distinguished.
fn place(at: f32) -> String {
    format!("{at:.1}")
}

/// All lines as one path.
fn lines(map: &MapAnswer) -> String {
    let mut path = String::with_capacity(map.links.len() * 24);
    for [a, b] in &map.links {
        if let (Some(a), Some(b)) = (map.items.get(*a as usize), map.items.get(*b as usize)) {
            // Writing to a String cannot fail.
            let _ = write!(
                path,
                "M{} {}L{} {}",
                place(a.x * WIDE),
                place(a.y),
                place(b.x * WIDE),
                place(b.y)
            );
        }
    }
    path
}

/// The items to label: those with the most lines, as long as a label covers no other, no item and no button.
fn labelled(map: &MapAnswer) -> Vec<usize> {
    let mut lines: HashMap<u32, usize> = HashMap::new();
    for end in map.links.iter().flatten() {
        *lines.entry(*end).or_default() += 1;
    }
    let degree = |at: &usize| {
        u32::try_from(*at)
            .ok()
            .and_then(|at| lines.get(&at))
            .copied()
            .unwrap_or(0)
    };
    let mut order: Vec<usize> = (0..map.items.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(degree(at)), *at));
    let mut boxes = vec![[BUTTONS[0], 0.0, 1_000.0 * WIDE, BUTTONS[1]]];
    let mut chosen = Vec::new();
    for at in order {
        let item = &map.items[at];
        let width = 12.0 + LABEL_CHARACTER * label(item).chars().count() as f32;
        let left = item.x * WIDE;
        let own = [
            left,
            item.y - LABEL_HEIGHT / 2.0,
            left + width,
            item.y + LABEL_HEIGHT / 2.0,
        ];
        let is_free = boxes
            .iter()
            .all(|b| own[2] < b[0] || b[2] < own[0] || own[3] < b[1] || b[3] < own[1]);
        let covers = |(other, item): (usize, &MapItem)| {
            let x = item.x * WIDE;
            other != at && x > own[0] && x < own[2] && item.y > own[1] && item.y < own[3]
        };
        let covers_item = map.items.iter().enumerate().any(covers);
        if is_free && !covers_item && own[2] < 1_000.0 * WIDE {
            boxes.push(own);
            chosen.push(at);
        }
        if chosen.len() == LABELS {
            break;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, x: f32, y: f32) -> MapItem {
        MapItem {
            id: id.to_owned(),
            title: Some("<Ice>".to_owned()),
            x,
            y,
            category: Some(0),
        }
    }

    fn map(items: Vec<MapItem>, links: Vec<[u32; 2]>) -> MapAnswer {
        MapAnswer {
            domain: "d".to_owned(),
            as_of: "2026-11-23T09:00:00.000Z".to_owned(),
            by: "categories".to_owned(),
            of: 9,
            categories: vec!["rail".to_owned()],
            items,
            links,
        }
    }

    #[test]
    fn labels_do_not_overlap_and_what_is_linked_most_comes_first() {
        let map = map(
            vec![
                item("a", 10.0, 10.0),
                item("b", 12.0, 12.0),
                item("c", 10.0, 500.0),
            ],
            vec![[1, 2], [1, 0], [2, 9]],
        );
        assert_eq!(labelled(&map), [1, 2]);
        let text = drawn("d", &map).into_string();
        assert_eq!(text.matches("<circle").count(), 3);
        assert_eq!(text.matches("tabindex=\"-1\"").count(), 1);
        assert!(
            text.contains("M19.2 12.0L16.0 500.0M19.2 12.0L16.0 10.0\"")
                && text.contains("3 of 9 items")
        );
        assert!(text.contains("&lt;Ice&gt;") && !text.contains("<Ice>"));
    }

    #[test]
    fn labels_cover_no_item_and_no_button() {
        let beside = map(
            vec![
                item("a", 10.0, 10.0),
                item("b", 20.0, 12.0),
                item("c", 900.0, 20.0),
            ],
            vec![[0, 1], [0, 2]],
        );
        assert_eq!(
            labelled(&beside),
            [1],
            "b is under a's label, c's is under the buttons"
        );
    }

    #[test]
    fn a_long_title_is_cut_at_a_character() {
        let long = MapItem {
            title: Some("é".repeat(100)),
            ..item("a", 0.0, 0.0)
        };
        assert_eq!(label(&long).chars().count(), LABEL + 1);
    }
}
