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

/// An extraction of items whose texts are to be prepared, two per job.
fn begun(ids: &[&str], settings: &DomainSettings) -> (Extraction, Vec<ExtractionRequest>) {
    let making = Making::new(
        &ModelName::new("text-2").unwrap(),
        true,
        settings,
        Arc::default(),
    );
    let rows = (0..).zip(ids).map(|(slot, id)| row(slot, id, true));
    let spaces = vec![(Space::stored("text-2/fr"), 2)];
    let most = PieceSize {
        items: 2,
        bytes: usize::MAX,
        text_bytes: usize::MAX,
    };
    let (mut extraction, step) =
        Extraction::begin(making, rows.collect(), spaces, BTreeMap::new(), most);
    assert!(matches!(step, Step::Read(missing) if missing.is_empty()));
    let Step::Prepare(asked, None) = extraction.read(Ok(vec![])) else {
        panic!("texts are to be prepared");
    };
    (extraction, asked)
}

/// The same after these results of reading the texts.
fn at_workers(ids: &[&str], prepared: Vec<Prepared>) -> (Extraction, Vec<(PieceId, Vec<String>)>) {
    let (mut extraction, asked) = begun(ids, &DomainSettings::default());
    let steps = extraction.prepared(asked.into_iter().zip(prepared).collect());
    let pieces = steps.iter().map(submitted).collect();
    (extraction, pieces)
}

#[track_caller]
fn submitted(step: &Step) -> (PieceId, Vec<String>) {
    let Step::Submit(piece, task, _) = step else {
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
        Arc::default(),
    );
    let rows = vec![
        row(0, "at-hand", true),
        row(1, "read", false),
        row(2, "gone", false),
        row(3, "newer", false),
    ];
    let (mut extraction, step) =
        Extraction::begin(making, rows, vec![], BTreeMap::new(), PieceSize::default());
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
        Arc::default(),
    );
    let (mut extraction, _) = Extraction::begin(
        making,
        vec![row(0, "a", false)],
        vec![],
        BTreeMap::new(),
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
    // A repeated answer has no effect.
    assert!(extraction.answered(first, given_up()).is_none());
    let made = done(extraction.answered(second, Ok(vec![feature(1.0)]))).unwrap();
    let rejected = |made: &Made| made.rejected().map(str::to_owned);
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
    assert!(made[0].rejected().is_some());
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
        // The other item of the first job is not tried any more.
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
    let row = made[0].row.as_ref().unwrap();
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
        let making = Making::new(&model, compares, &settings(across), Arc::default());
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
    let [Step::Submit(piece, task, _)] = &*steps else {
        panic!("no job: {steps:?}");
    };
    assert_eq!(task.space, Space::stored("text-2/de"));
    let made = done(extraction.answered(*piece, Ok(vec![feature(1.0)]))).unwrap();
    assert_eq!(made[0].space, Space::stored("text-2/mul"));
}

#[test]
fn features_of_one_space_are_equally_long_whoever_made_them() {
    let long = |length: usize| {
        let mut values = vec![0.0; length];
        values[0] = 1.0;
        Feature::new(values, vec![], vec![]).unwrap()
    };
    // The first answer determines the length, unless the domain has one.
    let (mut extraction, pieces) = at_workers(&["a", "b", "c"], vec![terms("en"); 3]);
    let answer = extraction.answered(pieces[0].0, Ok(vec![long(3), Feature::zero()]));
    assert!(answer.is_none());
    let failure = done(extraction.answered(pieces[1].0, Ok(vec![long(2)]))).unwrap_err();
    assert!(failure.detail.contains("2 values, and others have 3"));

    let making = Making::new(
        &ModelName::new("text-2").unwrap(),
        true,
        &DomainSettings::default(),
        Arc::default(),
    );
    let lengths = BTreeMap::from([(Space::stored("text-2/en"), 3)]);
    let rows = vec![row(0, "a", true), row(1, "b", true)];
    let size = PieceSize::default();
    let (mut extraction, _) = Extraction::begin(making, rows, vec![], lengths, size);
    let Step::Prepare(asked, _) = extraction.read(Ok(vec![])) else {
        panic!("texts are to be prepared");
    };
    let texts = [terms("en"), terms("de")];
    let steps = extraction.prepared(asked.into_iter().zip(texts).collect());
    let told: Vec<Option<usize>> = steps
        .iter()
        .map(|step| match step {
            Step::Submit(_, _, length) => *length,
            step => panic!("no job: {step:?}"),
        })
        .collect();
    // German first.
    assert_eq!(told, [None, Some(3)]);
}

/// An item with a text of this many letters.
fn with_text(slot: u32, letters: usize) -> ToExtract {
    let id = format!("i{slot}");
    let mut material = material(&id, 1);
    material.content.text = Some("x".repeat(letters));
    ToExtract {
        material: Some(Arc::new(material)),
        ..row(slot, &id, false)
    }
}

/// An extraction of these items, and the texts to read first.
fn reading(rows: Vec<ToExtract>, most: PieceSize) -> (Extraction, Vec<ExtractionRequest>) {
    let model = ModelName::new("text-2").unwrap();
    let making = Making::new(&model, true, &DomainSettings::default(), Arc::default());
    let (mut extraction, _) = Extraction::begin(making, rows, vec![], BTreeMap::new(), most);
    match extraction.read(Ok(vec![])) {
        Step::Prepare(asked, None) => (extraction, asked),
        step => panic!("texts are to be prepared: {step:?}"),
    }
}

fn letters(asked: &[ExtractionRequest]) -> usize {
    asked.iter().map(|asked| asked.material.bytes()).sum()
}

#[test]
fn large_texts_are_read_a_piece_at_a_time_and_sent_together() {
    let most = PieceSize::default().on_threads(2);
    let rows = (0..9).map(|n| with_text(n, if n == 4 { 600_000 } else { 250_000 }));
    let (mut extraction, mut asked) = reading(rows.collect(), most);
    let mut pieces = Vec::new();
    let jobs = loop {
        pieces.push(asked.len());
        let prepared = asked.into_iter().map(|asked| (asked, terms("en")));
        let mut steps = extraction.prepared(prepared.collect());
        match steps.pop() {
            Some(Step::Prepare(next, None)) if steps.is_empty() => asked = next,
            Some(step) => {
                steps.push(step);
                break steps;
            }
            None => panic!("nothing is asked"),
        }
    };
    assert_eq!(pieces, [2, 2, 1, 2, 2]);
    let sent: usize = jobs.iter().map(|step| submitted(step).1.len()).sum();
    assert_eq!(sent, 9);
}

#[test]
fn texts_of_unsure_language_are_read_again_in_pieces_too() {
    let most = PieceSize::default().on_threads(1);
    let rows = (0..4).map(|n| with_text(n, 200_000));
    let (mut extraction, mut asked) = reading(rows.collect(), most);
    let mut passes = Vec::new();
    loop {
        assert_eq!(asked.len(), 1);
        let is_first = passes.len() < 4;
        let answer = |asked: ExtractionRequest| match is_first {
            true => (asked, Prepared::Unsure),
            false => (asked, terms("en")),
        };
        let mut steps = extraction.prepared(asked.into_iter().map(answer).collect());
        match steps.pop() {
            Some(Step::Prepare(next, fallback)) => {
                passes.push(fallback.is_some());
                asked = next;
            }
            step => {
                assert!(matches!(step, Some(Step::Submit(..))), "{step:?}");
                break;
            }
        }
    }
    assert_eq!(passes, [false, false, false, true, true, true, true]);
}

/// A pool reads texts in the order in which they arrive, and each domain hands over one piece at a time.
#[test]
fn one_text_does_not_wait_behind_a_thousand_large_ones_of_another_domain() {
    let most = PieceSize::default().on_threads(2);
    let rows = (0..1_000).map(|n| with_text(n, 250_000));
    let (mut large, first) = reading(rows.collect(), most);
    let mut pool = VecDeque::from([first]);
    for _ in 0..7 {
        let done = pool.pop_front().unwrap();
        let prepared = done.into_iter().map(|asked| (asked, terms("en")));
        match large.prepared(prepared.collect()).pop() {
            Some(Step::Prepare(next, _)) => pool.push_back(next),
            step => panic!("there are more: {step:?}"),
        }
    }
    let (_, small) = reading(vec![with_text(0, 2_000)], most);
    pool.push_back(small);
    let before = pool.iter().position(|piece| letters(piece) == 2_000);
    let before: usize = pool
        .iter()
        .take(before.unwrap())
        .map(|piece| letters(piece))
        .sum();
    assert!(
        before <= (2 * 256) << 10,
        "{before} letters are read before it"
    );
}
