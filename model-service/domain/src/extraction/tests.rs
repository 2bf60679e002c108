#![allow(clippy::unwrap_used)] // a test may panic

use chrono::DateTime;

use super::*;
use crate::material::tombstone;
use crate::slot::Slot;
use crate::store::{Content, Liveness};

fn material(id: &str, version: u64) -> Material {
    let id = ItemId::new(id).unwrap();
    Material {
        row: tombstone(id, version, Liveness::Live, DateTime::UNIX_EPOCH),
        content: Content::default(),
    }
}

fn row(slot: u32, id: &str, is_at_hand: bool) -> ToExtract {
    ToExtract {
        slot: Slot(slot),
        id: ItemId::new(id).unwrap(),
        version: 1,
        material: is_at_hand.then(|| Arc::new(material(id, 1))),
    }
}

fn terms(language: &str) -> Prepared {
    Prepared::Terms(language.to_owned(), vec![("word".into(), 1)])
}

fn feature(value: f32) -> Feature {
    Feature::new(vec![value], vec![], vec![]).unwrap()
}

/// An extraction of items whose texts are to be prepared, two in a job.
fn begun(ids: &[&str], settings: &DomainSettings) -> (Extraction, Vec<Asked>) {
    let making = Making::new(&ModelName::new("text-2").unwrap(), true, settings);
    let rows = (0..).zip(ids).map(|(slot, id)| row(slot, id, true));
    let spaces = vec![(Space::stored("text-2/fr"), 2)];
    let most = PieceSize {
        items: 2,
        bytes: usize::MAX,
    };
    let (mut extraction, step) = Extraction::begin(making, rows.collect(), spaces, most);
    assert!(matches!(step, Step::Read(missing) if missing.is_empty()));
    let Step::Prepare(asked, None) = extraction.read(Ok(vec![])) else {
        panic!("texts are to be prepared");
    };
    (extraction, asked)
}

/// The same once its texts are these.
fn at_workers(ids: &[&str], prepared: Vec<Prepared>) -> (Extraction, Vec<(PieceId, Vec<String>)>) {
    let (mut extraction, asked) = begun(ids, &DomainSettings::default());
    let steps = extraction.prepared(asked.into_iter().zip(prepared).collect());
    let pieces = steps.iter().map(submitted).collect();
    (extraction, pieces)
}

#[track_caller]
fn submitted(step: &Step) -> (PieceId, Vec<String>) {
    let Step::Submit(piece, task) = step else {
        panic!("no job: {step:?}");
    };
    let ids = task.rows.iter().map(|row| row.id.to_string());
    (*piece, ids.collect())
}

#[track_caller]
fn done(step: Option<Step>) -> Result<Vec<Made>, Failure> {
    match step {
        Some(Step::Done(result)) => result,
        step => panic!("not done: {step:?}"),
    }
}

fn given_up() -> Result<Vec<Feature>, Undone> {
    Err(Undone::GivenUp(Failure::passing("no worker can")))
}

#[test]
fn what_is_not_in_memory_is_read_and_what_the_store_has_otherwise_is_left_out() {
    let making = Making::new(
        &ModelName::new("words-1").unwrap(),
        false,
        &DomainSettings::default(),
    );
    let rows = vec![
        row(0, "at-hand", true),
        row(1, "read", false),
        row(2, "gone", false),
        row(3, "newer", false),
    ];
    let (mut extraction, step) = Extraction::begin(making, rows, vec![], PieceSize::default());
    let Step::Read(missing) = step else {
        panic!("nothing is read");
    };
    let missing: Vec<&str> = missing.iter().map(ItemId::as_str).collect();
    assert_eq!(missing, ["read", "gone", "newer"]);
    let Step::Prepare(asked, None) =
        extraction.read(Ok(vec![material("newer", 2), material("read", 1)]))
    else {
        panic!("texts are to be prepared");
    };
    let asked: Vec<&str> = asked.iter().map(|asked| asked.row.id.as_str()).collect();
    assert_eq!(asked, ["at-hand", "read"]);
}

#[test]
fn what_cannot_be_read_is_made_later() {
    let making = Making::new(
        &ModelName::new("words-1").unwrap(),
        false,
        &DomainSettings::default(),
    );
    let (mut extraction, _) = Extraction::begin(
        making,
        vec![row(0, "a", false)],
        vec![],
        PieceSize::default(),
    );
    let failure = Failure::passing("no quorum");
    let step = extraction.read(Err(failure.clone()));
    assert_eq!(done(Some(step)).unwrap_err(), failure);
}

#[test]
fn texts_of_one_language_go_together_and_those_without_terms_to_nobody() {
    let own = Prepared::Known(Space::own(1), feature(1.0));
    let nothing = Prepared::Terms("de".to_owned(), vec![]);
    let prepared = vec![
        terms("en"),
        terms("de"),
        own,
        terms("en"),
        nothing,
        terms("en"),
    ];
    let (mut extraction, pieces) = at_workers(&["a", "b", "c", "d", "e", "f"], prepared);
    let ids: Vec<&[String]> = pieces.iter().map(|(_, ids)| &**ids).collect();
    assert_eq!(ids, [&["b"][..], &["a", "d"], &["f"]]);
    for (piece, ids) in &pieces[1..] {
        assert!(
            extraction
                .answered(*piece, Ok(vec![feature(0.5); ids.len()]))
                .is_none()
        );
    }
    let made = done(extraction.answered(pieces[0].0, Ok(vec![feature(0.25)]))).unwrap();
    let mut made: Vec<(u32, String, f32)> = made
        .iter()
        .map(|made| {
            (
                made.slot.0,
                made.space.to_string(),
                made.feature.dense().first().copied().unwrap_or(0.0),
            )
        })
        .collect();
    made.sort_by_key(|(slot, ..)| *slot);
    let made: Vec<(u32, &str, f32)> = made
        .iter()
        .map(|(slot, space, value)| (*slot, &**space, *value))
        .collect();
    let expected = [
        (0, "text-2/en", 0.5),
        (1, "text-2/de", 0.25),
        (2, "own/1", 1.0),
        (3, "text-2/en", 0.5),
        (4, "text-2/de", 0.0),
        (5, "text-2/en", 0.5),
    ];
    assert_eq!(made, expected);
}

#[test]
fn texts_of_unsure_language_are_read_in_what_most_others_are_in() {
    for (prepared, expected) in [
        // Two items that have features are in French.
        (vec![Prepared::Unsure, terms("de")], "fr"),
        (
            vec![Prepared::Unsure, terms("de"), terms("de"), terms("de")],
            "de",
        ),
    ] {
        let ids = &["a", "b", "c", "d"][..prepared.len()];
        let (mut extraction, asked) = begun(ids, &DomainSettings::default());
        let mut steps = extraction.prepared(asked.into_iter().zip(prepared).collect());
        let Some(Step::Prepare(unsure, Some(Fallback(Some(language))))) = steps.pop() else {
            panic!("nothing to fall back on");
        };
        assert!(steps.is_empty(), "all go to workers together");
        assert_eq!((unsure.len(), &*language), (1, expected));
        let prepared = unsure.into_iter().map(|asked| (asked, terms(expected)));
        let jobs = extraction.prepared(prepared.collect());
        let asked: usize = jobs.iter().map(|step| submitted(step).1.len()).sum();
        assert_eq!(asked, ids.len());
    }
}

#[test]
fn items_of_a_job_that_is_given_up_are_tried_alone_one_after_the_other() {
    let (mut extraction, pieces) = at_workers(&["a", "b"], vec![terms("en"), terms("en")]);
    let (first, ids) = submitted(&extraction.answered(pieces[0].0, given_up()).unwrap());
    assert_eq!(ids, ["a"]);
    let (second, ids) = submitted(&extraction.answered(first, given_up()).unwrap());
    assert_eq!(ids, ["b"]);
    // What comes twice has no effect.
    assert!(extraction.answered(first, given_up()).is_none());
    let made = done(extraction.answered(second, Ok(vec![feature(1.0)]))).unwrap();
    let rejected = |made: &Made| made.rejected.as_ref().and_then(|row| row.rejected.clone());
    assert_eq!(rejected(&made[0]).as_deref(), Some("no worker can"));
    assert!(made[0].feature.is_zero());
    assert_eq!(
        (rejected(&made[1]), made[1].feature.is_zero()),
        (None, false)
    );
}

#[test]
fn an_item_in_a_job_of_its_own_is_tried_again_before_it_is_rejected() {
    let (mut extraction, pieces) = at_workers(&["a"], vec![terms("en")]);
    let (again, _) = submitted(&extraction.answered(pieces[0].0, given_up()).unwrap());
    let made = done(extraction.answered(again, given_up())).unwrap();
    assert!(made[0].rejected.is_some());
}

#[test]
fn features_of_another_number_of_items_are_none() {
    let (mut extraction, pieces) = at_workers(&["a", "b"], vec![terms("en"), terms("en")]);
    let step = extraction.answered(pieces[0].0, Ok(vec![feature(1.0)]));
    assert_eq!(submitted(&step.unwrap()).1, ["a"]);
}

#[test]
fn no_item_is_at_fault_when_nobody_answers_and_the_rest_is_waited_for() {
    let unanswered = Undone::Unanswered(Failure::passing("no worker answered"));
    for undone in [unanswered, Undone::Stopping] {
        let prepared = vec![terms("en"); 3];
        let (mut extraction, pieces) = at_workers(&["a", "b", "c"], prepared);
        let alone = extraction.answered(pieces[0].0, given_up()).unwrap();
        assert!(
            extraction
                .answered(pieces[1].0, Err(undone.clone()))
                .is_none()
        );
        // The other of the first job is not tried any more.
        let step = extraction.answered(submitted(&alone).0, Ok(vec![feature(1.0)]));
        assert_eq!(done(step).unwrap_err(), Failure::from(undone));
    }
}

#[test]
fn a_text_that_can_have_no_feature_says_why() {
    let unfit = Prepared::Unfit("it did not end".to_owned());
    let (mut extraction, asked) = begun(&["a"], &DomainSettings::default());
    let prepared = asked.into_iter().map(|asked| (asked, unfit.clone()));
    let mut steps = extraction.prepared(prepared.collect());
    let made = done(steps.pop()).unwrap();
    assert_eq!(made[0].space, Space::stored("text-2/und"));
    let row = made[0].rejected.as_ref().unwrap();
    assert_eq!(row.rejected.as_deref(), Some("it did not end"));
}

#[test]
fn one_space_holds_all_languages_where_model_and_domain_have_it_so() {
    let settings = |across| DomainSettings {
        across_languages: across,
        ..DomainSettings::default()
    };
    let model = ModelName::new("text-2").unwrap();
    for (compares, across, space) in [
        (true, Some(true), "text-2/mul"),
        (true, Some(false), "text-2/de"),
        (true, None, "text-2/de"),
        (false, Some(true), "text-2/de"),
    ] {
        let making = Making::new(&model, compares, &settings(across));
        assert_eq!(
            making.space("de"),
            Space::stored(space),
            "{compares} {across:?}"
        );
    }
    // The worker is told the language.
    let (mut extraction, asked) = begun(&["a"], &settings(Some(true)));
    let steps = extraction.prepared(
        asked
            .into_iter()
            .map(|asked| (asked, terms("de")))
            .collect(),
    );
    let [Step::Submit(piece, task)] = &*steps else {
        panic!("no job: {steps:?}");
    };
    assert_eq!(task.space, Space::stored("text-2/de"));
    let made = done(extraction.answered(*piece, Ok(vec![feature(1.0)]))).unwrap();
    assert_eq!(made[0].space, Space::stored("text-2/mul"));
}
