//! Measures systems against people's judgements.

use std::collections::{BTreeMap, BTreeSet};

use kindred_domain::settings::NEAR_DUPLICATE;
use rayon::prelude::*;
use serde::Serialize;

use super::input::{Field, Items, Judgement};
use super::metrics::{
    Measured, correlation, hit5, mean, ndcg10, pearson, recall10, reciprocal_rank, spearman,
};
use super::systems::{ScoredItem, System};

/// Results per list that count.
const FIRST: usize = 10;

/// People's judgements, as far as they were given.
pub(super) struct Said {
    pub judgements: Option<Vec<Judgement>>,
    pub links: Option<BTreeMap<usize, BTreeSet<usize>>>,
    pub tags: Option<Field>,
}

/// How well a system does.
#[derive(Debug, Serialize)]
pub(super) struct Evaluation {
    pub name: String,
    /// By name of the measure; only what was asked for.
    pub measures: BTreeMap<&'static str, Measured>,
    pub lists: Standing,
    /// For each question its recall of links, or else its nDCG by tags; used to find the best and
    /// worst lists.
    #[serde(skip)]
    pub by_question: BTreeMap<usize, f64>,
}

/// Statistics of the lists themselves, independent of any judgements.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    /// Share of items that have a list.
    pub with_list: f64,
    /// The largest share of lists that one item is first in.
    pub most_first_places: f64,
    /// The largest share of lists that have one item in their first ten.
    pub most_first_ten: f64,
    /// Share of items that are in the first ten of no list.
    pub never_listed: f64,
    /// Share of items whose best neighbour has a score of 0.90 or more; `None` if scores are not
    /// cosines.
    pub near_duplicates: Option<f64>,
}

pub(super) fn measure(system: &System, items: &Items, said: &Said) -> Evaluation {
    let mut measures = BTreeMap::new();
    let mut by_question = BTreeMap::new();
    if let Some(judgements) = &said.judgements {
        let scored = |one: &Judgement| (one.score, system.score(one.a, one.b));
        let pairs: Vec<(f64, f64)> = judgements.par_iter().map(scored).collect();
        measures.extend(correlation(&pairs, pearson).map(|found| ("judgements Pearson", found)));
        measures.extend(correlation(&pairs, spearman).map(|found| ("judgements Spearman", found)));
    }
    if let Some(field) = &said.tags {
        let values = by_tags(system, items, field);
        let all: Vec<f64> = values.values().copied().collect();
        measures.extend(mean(&all).map(|found| ("tags nDCG@10", found)));
        by_question = values;
    }
    if let Some(links) = &said.links {
        let relevance = |(from, to): (&usize, &BTreeSet<usize>)| {
            let list = system.lists[*from].iter();
            let relevant: Vec<bool> = list.map(|answer| to.contains(&answer.item)).collect();
            (*from, relevant, to.len())
        };
        let questions: Vec<(usize, Vec<bool>, usize)> = links.iter().map(relevance).collect();
        let of = |measure: &dyn Fn(&[bool], usize) -> f64| {
            let values = questions
                .iter()
                .map(|(_, relevant, wanted)| measure(relevant, *wanted));
            mean(&values.collect::<Vec<_>>())
        };
        measures.extend(of(&|relevant, _| hit5(relevant)).map(|found| ("links hit@5", found)));
        measures.extend(of(&recall10).map(|found| ("links recall@10", found)));
        measures
            .extend(of(&|relevant, _| reciprocal_rank(relevant)).map(|found| ("links MRR", found)));
        by_question = questions
            .iter()
            .map(|(from, relevant, wanted)| (*from, recall10(relevant, *wanted)))
            .collect();
    }
    Evaluation {
        name: system.name.clone(),
        measures,
        lists: standing(system),
        by_question,
    }
}

/// nDCG of each item that has labels: an answer's gain is the Jaccard index of both items' labels.
/// Items of the same group are skipped, as answers and in the ideal order.
fn by_tags(system: &System, items: &Items, field: &Field) -> BTreeMap<usize, f64> {
    let labels: Vec<BTreeSet<&str>> = (0..items.len())
        .map(|item| items.labels(item, field))
        .collect();
    let mut labelled: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (item, labels) in labels.iter().enumerate() {
        for label in labels {
            labelled.entry(label).or_default().push(item);
        }
    }
    let gain = |a: usize, b: usize| {
        let shared = labels[a].intersection(&labels[b]).count();
        shared as f64 / (labels[a].len() + labels[b].len() - shared).max(1) as f64
    };
    let others = |item: usize, other: usize| other != item && !items.is_same_group(item, other);
    let question = |item: usize| {
        let alike = labels[item].iter().flat_map(|label| &labelled[label]);
        let alike: BTreeSet<usize> = alike
            .copied()
            .filter(|other| others(item, *other))
            .collect();
        let best: Vec<f64> = alike.into_iter().map(|other| gain(item, other)).collect();
        let answers = system.lists[item].iter().map(|answer| answer.item);
        let answers = answers.filter(|other| others(item, *other)).take(FIRST);
        let gains: Vec<f64> = answers.map(|other| gain(item, other)).collect();
        Some((item, ndcg10(&gains, &best)?))
    };
    (0..items.len())
        .into_par_iter()
        .filter_map(question)
        .collect()
}

fn standing(system: &System) -> Standing {
    let count = system.lists.len();
    let (mut first, mut ten) = (vec![0_usize; count], vec![0_usize; count]);
    let (mut with_list, mut near) = (0, 0);
    for list in &system.lists {
        for (rank, ScoredItem { item, .. }) in list.iter().take(FIRST).enumerate() {
            first[*item] += usize::from(rank == 0);
            ten[*item] += 1;
        }
        with_list += usize::from(!list.is_empty());
        near += usize::from(
            list.first()
                .is_some_and(|best| best.score >= NEAR_DUPLICATE as f32),
        );
    }
    let share = |of: usize, all: usize| of as f64 / all.max(1) as f64;
    let most = |counts: &[usize]| counts.iter().max().copied().unwrap_or(0);
    Standing {
        with_list: share(with_list, count),
        most_first_places: share(most(&first), with_list),
        most_first_ten: share(most(&ten), with_list),
        never_listed: share(ten.iter().filter(|count| **count == 0).count(), count),
        near_duplicates: system.scores_are_cosines().then(|| share(near, count)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::io::Write;

    use kindred_shared::event::Limits;

    use super::super::input;
    use super::super::systems::{Baseline, of_terms, read};
    use super::*;
    use crate::preprocessing::Preprocessor;

    fn items(lines: &str) -> Items {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        Items::read(&[file.path().to_owned()], &Limits::default()).unwrap()
    }

    fn item(id: &str, text: &str, group: &str, categories: &[&str]) -> String {
        let item = serde_json::json!({
            "type": "item.updated", "id": id, "text": text, "group": group, "language": "en",
            "categories": categories,
        });
        format!("{item}\n")
    }

    #[test]
    fn measures_are_those_of_lists_that_one_can_follow_by_hand() {
        let items = items(
            &[
                item("a", "glacier moraine fjord", "one", &["ice"]),
                item("b", "glacier moraine fjord", "one", &["ice"]),
                item("c", "glacier fjord", "two", &["ice", "sea"]),
                item("d", "glacier bicycle", "three", &["road"]),
                item("e", "violin", "four", &[]),
            ]
            .concat(),
        );
        let preprocessor = Preprocessor::new(&["en".to_owned()], "en").unwrap();
        let system = of_terms(Baseline::TfIdf, &read(&items, &preprocessor));
        let first: Vec<usize> = system.lists[0].iter().map(|answer| answer.item).collect();
        assert_eq!(first, [1, 2, 3]);
        let said = Said {
            judgements: Some(vec![
                Judgement {
                    a: 0,
                    b: 1,
                    score: 1.0,
                },
                Judgement {
                    a: 0,
                    b: 2,
                    score: 0.5,
                },
                Judgement {
                    a: 0,
                    b: 4,
                    score: 0.0,
                },
            ]),
            links: Some(BTreeMap::from([
                (0, BTreeSet::from([3, 4])),
                (4, BTreeSet::from([0])),
            ])),
            tags: Some(Field::Categories),
        };
        let found = measure(&system, &items, &said);
        let value = |name: &str| found.measures[name].value;
        assert!((value("judgements Spearman") - 1.0).abs() < 1e-9);
        assert!(value("judgements Pearson") > 0.9);
        // d is third of a; e is nowhere, and has no list.
        assert!((value("links hit@5") - 0.5).abs() < 1e-9);
        assert!((value("links recall@10") - 0.25).abs() < 1e-9);
        assert!((value("links MRR") - 1.0 / 6.0).abs() < 1e-9);
        // Of a and b the other is of their group; c comes first and is the best there is. Of c both come
        // before d. d and e have no question.
        assert!((value("tags nDCG@10") - 1.0).abs() < 1e-9);
        assert_eq!(found.measures["tags nDCG@10"].of, 3);
        assert!((found.lists.with_list - 0.8).abs() < 1e-9);
        assert!((found.lists.never_listed - 0.2).abs() < 1e-9);
        assert_eq!(found.lists.near_duplicates, Some(0.4));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let items = items(&(item("a", "x", "g", &[]) + &item("b", "y", "g", &[])));
        let said = |lines: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            let read = input::links(file.path(), &items);
            read.map(|_| ()).map_err(|failure| failure.message)
        };
        assert_eq!(
            said("{\"from\":\"a\",\"to\":\"b\"}\n{\"from\":\"a\",\"to\":\"z\"}"),
            Ok(())
        );
        let words = said("{\"from\":\"a\",\"to\":\"b\"}\n{\"from\":\"a\"}").unwrap_err();
        assert!(words.contains(":2: missing field `to`"), "{words}");
        let words = said("{\"from\":\"a\",\"to\":\"z\"}").unwrap_err();
        assert!(words.contains("no links refer to known items"), "{words}");
    }
}
