//! Invariants of rows in every store. Readers rely on them, but no database enforces them:
//! something else may have written there, or only a part was restored.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use kindred_shared::ModelName;
use kindred_shared::event::{MAX_VECTOR, MAX_VERSION};
use kindred_shared::feature::HIGHEST_SCORE;
use kindred_shared::job::KEEP;

use kindred_domain::store::{Content, DomainRow, FeatureRow, ItemRow, ListRow, Removed};

/// Highest plausible count of items in a domain's row: far more than any domain has.
const MOST_ITEMS: u64 = 1 << 32;
/// The range of valid times.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// A time that events may contain.
pub(super) fn time(at: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if YEARS.contains(&at.timestamp()) {
        Ok(at)
    } else {
        Err(format!(
            "{} s since 1970 is not a valid time",
            at.timestamp()
        ))
    }
}

fn version(version: u64) -> Result<(), String> {
    if version <= MAX_VERSION {
        Ok(())
    } else {
        Err(format!("{} is not a valid version", version.cast_signed()))
    }
}

/// An item's row.
pub(super) fn item(row: ItemRow) -> Result<ItemRow, String> {
    version(row.version)?;
    time(row.since)?;
    let times = [
        row.published_at,
        row.publish_at,
        row.expires_at,
        row.accepted_at,
    ];
    times
        .into_iter()
        .flatten()
        .try_for_each(|at| time(at).map(drop))?;
    Ok(row)
}

/// An item's text and vectors.
pub(super) fn content(content: Content) -> Result<Content, String> {
    for vector in content.vector.iter().chain(content.vectors.values()) {
        let length = vector.len();
        if !(1..=MAX_VECTOR).contains(&length) {
            return Err(format!("a vector has {length} values"));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err("a value of a vector is not a finite number".to_owned());
        }
    }
    Ok(content)
}

/// A feature of a model.
pub(super) fn feature(row: FeatureRow, model: &ModelName) -> Result<FeatureRow, String> {
    version(row.version)?;
    if row.space.model_name() != model.as_str() {
        return Err(format!(
            "its space {:?} belongs to another model",
            row.space
        ));
    }
    let length = row.feature.dense().len();
    if length > MAX_VECTOR {
        return Err(format!("its dense part has {length} values"));
    }
    let stated = row.space.vector_length();
    if stated.is_some_and(|stated| stated != length && !row.feature.is_zero()) {
        return Err(format!("its {length} values do not match {}", row.space));
    }
    if !row.feature.is_scaled() {
        return Err("it is not of length 1".to_owned());
    }
    Ok(row)
}

/// An item's list.
pub(super) fn list(row: ListRow) -> Result<ListRow, String> {
    let neighbours = &row.neighbours;
    if neighbours.len() > KEEP {
        return Err(format!("it has {} neighbours", neighbours.len()));
    }
    let mut ids = HashSet::with_capacity(neighbours.len());
    for neighbour in neighbours {
        let score = neighbour.score;
        // Also false for NaN.
        if !(score > 0.0 && score <= HIGHEST_SCORE) {
            return Err(format!("a neighbour has the score {score}"));
        }
        if neighbour.id == row.id || !ids.insert(&neighbour.id) {
            return Err(format!(
                "{} is in it twice, or is the item itself",
                neighbour.id
            ));
        }
    }
    if !neighbours.is_sorted_by(|a, b| a.score >= b.score) {
        return Err("its neighbours are out of order".to_owned());
    }
    time(row.updated_at)?;
    Ok(row)
}

/// Repairs impossible values in a domain's row, and returns what they were. Its lists are then
/// recomputed: they may not match its items.
pub(super) fn domain(row: &mut DomainRow) -> Option<String> {
    let mut wrong = Vec::new();
    if row.live > MOST_ITEMS || row.visible > row.live {
        let (live, visible) = (row.live.cast_signed(), row.visible.cast_signed());
        wrong.push(format!(
            "it counts {live} live items, {visible} of them visible"
        ));
        (row.live, row.visible) = (0, 0);
    }
    if let Err(why) = time(row.registered_at) {
        wrong.push(why);
        row.registered_at = DateTime::UNIX_EPOCH;
    }
    if let Some(Err(why)) = row.next_expiry.map(time) {
        wrong.push(why);
        row.next_expiry = None;
    }
    if let Some(Err(why)) = row
        .removal
        .as_ref()
        .map(|removed: &Removed| time(removed.at))
    {
        wrong.push(why);
        row.removal = None;
    }
    if wrong.is_empty() {
        return None;
    }
    // No epoch is 0, so this mark is not one of ours.
    row.dirty.get_or_insert(0);
    Some(wrong.join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::{Feature, Space};

    use super::super::contract::{self, content as text, domain_row, id, words};
    use super::*;
    use kindred_domain::store::Neighbour;

    #[test]
    fn what_kindred_writes_is_sound() {
        assert!(item(contract::item("a", 3)).is_ok());
        assert!(content(text("words")).is_ok());
        assert!(content(Content::default()).is_ok());
        assert!(feature(contract::feature("a", 3), &words()).is_ok());
        assert!(list(contract::list("a", 1.0)).is_ok());
        let mut row = domain_row(&contract::domain("d"), 9);
        let before = row.clone();
        assert_eq!((domain(&mut row), row), (None, before));
    }

    #[test]
    fn versions_and_times_are_those_of_events() {
        let absurd = |change: &dyn Fn(&mut ItemRow)| {
            let mut row = contract::item("a", 3);
            change(&mut row);
            item(row).is_err()
        };
        let far = DateTime::from_timestamp(i64::from(u32::MAX) * 1_000, 0).unwrap();
        assert!(absurd(&|row| row.version = u64::MAX));
        assert!(absurd(&|row| row.version = MAX_VERSION + 1));
        assert!(absurd(&|row| row.since = far));
        assert!(absurd(&|row| row.expires_at = Some(far)));
        assert!(absurd(&|row| row.publish_at = Some(far)));
    }

    #[test]
    fn vectors_are_those_of_events() {
        for vector in [
            vec![],
            vec![1.0; MAX_VECTOR + 1],
            vec![f32::NAN],
            vec![1.0, f32::INFINITY],
        ] {
            let wrong = Content {
                vector: Some(vector),
                ..text("words")
            };
            assert!(content(wrong).is_err());
        }
        for vector in [vec![], vec![f32::NAN]] {
            let clip = kindred_shared::VectorName::new("clip").unwrap();
            let wrong = Content {
                vectors: [(clip, vector)].into(),
                ..text("words")
            };
            assert!(content(wrong).is_err());
        }
    }

    #[test]
    fn features_are_scaled_and_of_their_space() {
        let wrong = |space: &str, dense: Vec<f32>, version| {
            let row = FeatureRow {
                id: id("a"),
                version,
                space: Space::stored(space),
                feature: Feature::new(dense, vec![], vec![]).unwrap(),
                habits: 0,
            };
            let model = row.space.model();
            feature(row, &model).unwrap_err()
        };
        assert!(wrong("words-1/en", vec![0.5], 1).contains("length 1"));
        assert!(wrong("words-1/en", vec![0.0; MAX_VECTOR + 1], 1).contains("4097 values"));
        assert!(wrong("words-1/en", vec![1.0], u64::MAX).contains("-1 is not a valid version"));
        assert!(wrong("own/3", vec![1.0], 1).contains("own/3"));
        assert!(wrong("vectors-clip/3", vec![1.0], 1).contains("vectors-clip/3"));
        let other = feature(contract::feature("a", 1), &ModelName::own());
        assert!(other.unwrap_err().contains("another model"));
    }

    #[test]
    fn lists_are_of_others_best_first() {
        let neighbour = |name: &str, score| Neighbour {
            id: id(name),
            score,
        };
        let wrong = |neighbours: Vec<Neighbour>| {
            list(ListRow {
                neighbours,
                ..contract::list("a", 1.0)
            })
            .is_err()
        };
        for score in [f32::NAN, f32::INFINITY, 0.0, -0.5, 7.5] {
            assert!(wrong(vec![neighbour("b", score)]), "{score}");
        }
        assert!(wrong(vec![neighbour("a", 0.5)]));
        assert!(wrong(vec![neighbour("b", 0.5), neighbour("b", 0.5)]));
        assert!(wrong(vec![neighbour("b", 0.5), neighbour("c", 0.6)]));
        let many = (0..=KEEP).map(|n| neighbour(&format!("{n}"), 0.5));
        assert!(wrong(many.collect()));
    }

    #[test]
    fn a_domains_row_is_put_right_and_its_lists_are_doubted() {
        let name = contract::domain("d");
        let far = DateTime::from_timestamp(i64::from(u32::MAX) * 1_000, 0).unwrap();
        let changes: [&dyn Fn(&mut DomainRow); 4] = [
            &|row| row.live = u64::MAX,
            &|row| row.visible = row.live + 1,
            &|row| row.next_expiry = Some(far),
            &|row| row.registered_at = far,
        ];
        for change in changes {
            let mut row = DomainRow {
                dirty: None,
                ..domain_row(&name, 9)
            };
            change(&mut row);
            assert!(domain(&mut row).is_some());
            assert_eq!(row.dirty, Some(0));
            assert_eq!(domain(&mut row), None, "{row:?} is right now");
        }
    }
}
