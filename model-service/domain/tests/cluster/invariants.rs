//! The invariants, by their names in docs/ARCHITECTURE.md, and the checks for them.

use std::collections::BTreeMap;
use std::fmt;

use kindred_domain::habits::Habits;
use kindred_domain::models::Stage;
use kindred_domain::settings::{Answered, SettingsOutcome};
use kindred_domain::store::{ItemRow, ListRow, Liveness, Neighbour, Partition};
use kindred_query::DomainView;
use kindred_shared::event::Event;
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};

use crate::process::Process;
use crate::simulated::log::check_log;
use crate::simulated::reference::{
    brute_force, feature_of, habits_of, is_expired, model, reads_texts,
};
use crate::simulated::tables::Tables;
use crate::world::World;

/// The invariants that can be checked from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    DurableBeforeAcknowledged,
    Exact,
    ConvergesUnaided,
    OneWriter,
    NeverBlocked,
    GoneMeansGone,
    Bounded,
    /// Not one of the nine: each delivery is settled once.
    SettledOnce,
}

/// An invariant that did not hold.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

pub(crate) type Checked = Result<(), Violation>;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

/// Checked after every step.
pub(crate) fn after_step(world: &World) -> Checked {
    for partition in (0..world.shape.partitions).map(Partition) {
        let certain = |process: &&Process| process.is_certain_of(world, partition);
        let certain: Vec<&str> = world
            .processes()
            .filter(certain)
            .map(Process::name)
            .collect();
        if certain.len() > 1 {
            return violated(
                Invariant::OneWriter,
                format!("{certain:?} are certain to own {partition:?}"),
            );
        }
    }
    Ok(())
}

/// Called when lists are written at an epoch: the store must say that the domain is dirty, or the model beside the
/// served one that they are of.
pub(crate) fn list_written(
    tables: &Tables,
    name: &DomainName,
    model: Option<&ModelName>,
    epoch: u64,
) -> Checked {
    let dirty = match model {
        None => tables.domain.get(&()).and_then(|row| row.dirty),
        Some(model) => tables.beside(model).row.and_then(|row| row.dirty),
    };
    if dirty.is_some_and(|dirty| dirty >= epoch) {
        return Ok(());
    }
    violated(
        Invariant::OneWriter,
        format!(
            "a list of {name} by {model:?} is written at epoch {epoch}, and its mark is {dirty:?}"
        ),
    )
}

/// Whether readers should see the item, according to its row; ignores expiry.
pub(crate) fn is_shown(row: &ItemRow) -> bool {
    row.liveness == Liveness::Live && !row.hidden
}

/// A model of a domain, and what is stored of it.
struct OfModel<'a> {
    name: &'a ModelName,
    kind: &'a ModelName,
    is_served: bool,
    /// The habits with which its features were made.
    habits: Habits,
    lists: BTreeMap<&'a ItemId, &'a ListRow>,
}

/// The models of a domain: the served one first.
fn models_of<'a>(tables: &'a Tables, kind: &'a ModelName) -> Vec<OfModel<'a>> {
    let set = tables.settings.get(&());
    let mut all = vec![OfModel {
        name: set.map_or(kind, |set| set.models.active(kind)),
        kind,
        is_served: true,
        habits: set.map(|set| set.habits.clone()).unwrap_or_default(),
        lists: tables.lists.rows().collect(),
    }];
    let beside = set.into_iter().flat_map(|set| set.models.beside());
    all.extend(beside.map(|(name, entry)| {
        let lists = tables.beside_lists.get(name).into_iter();
        OfModel {
            name,
            kind: &entry.kind,
            is_served: false,
            habits: tables.beside(name).habits,
            lists: lists.flat_map(|lists| lists.rows()).collect(),
        }
    }));
    all
}

/// For a domain that is clean, with no event in flight: its lists must be those of its items, by all its models.
pub(crate) fn clean_is_exact(tables: &Tables, name: &DomainName, have_habits: bool) -> Checked {
    let Some(kind) = tables.open().model().cloned() else {
        return Ok(());
    };
    for model in models_of(tables, &kind) {
        clean_is_exact_by(tables, name, &model, have_habits)?;
    }
    Ok(())
}

fn clean_is_exact_by(
    tables: &Tables,
    name: &DomainName,
    of_model: &OfModel<'_>,
    have_habits: bool,
) -> Checked {
    let model = of_model.kind.clone();
    let habits = habits_are_stored(tables, name, of_model, have_habits)?;
    let mut features: BTreeMap<ItemId, (Space, Feature)> = BTreeMap::new();
    for (id, row) in tables.items.rows().filter(|(_, row)| is_shown(row)) {
        let stored = tables.features.get(&(id.clone(), model.clone()));
        let Some(stored) = stored.filter(|feature| feature.version == row.version) else {
            return violated(
                Invariant::Exact,
                format!(
                    "{name} is clean, and {id} has no feature of version {}",
                    row.version
                ),
            );
        };
        let feature = match tables.contents.get(id) {
            // The stored row may be a late write of a former owner, made with previous habits.
            Some(content) if row.rejected.is_none() => feature_of(&model, row, content, &habits),
            _ => (stored.space.clone(), stored.feature.clone()),
        };
        features.insert(id.clone(), feature);
    }
    compare_lists(name, of_model, &features)
}

/// The stored habits must be those of the live items' texts.
fn habits_are_stored(
    tables: &Tables,
    name: &DomainName,
    model: &OfModel<'_>,
    have_habits: bool,
) -> Result<Habits, Violation> {
    let habits = if have_habits && reads_texts(model.kind) {
        habits_of(tables)
    } else {
        Habits::default()
    };
    let stored = &model.habits;
    if stored.fingerprint() == habits.fingerprint() {
        return Ok(habits);
    }
    Err(Violation {
        invariant: Invariant::Exact,
        detail: format!(
            "{name} has {stored:?} of {}, and should have {habits:?}",
            model.name
        ),
    })
}

fn compare_lists(
    name: &DomainName,
    model: &OfModel<'_>,
    features: &BTreeMap<ItemId, (Space, Feature)>,
) -> Checked {
    let by = model.name;
    for id in model.lists.keys() {
        if !features.contains_key(*id) {
            return violated(
                Invariant::Exact,
                format!("{id} of {name} is not visible and has a list by {by}"),
            );
        }
    }
    for (id, feature) in features {
        let expected = brute_force(id, feature, features);
        let stored = model.lists.get(id).map(|list| &list.neighbours);
        if stored != Some(&expected) {
            let detail = format!(
                "the list of {id} of {name} by {by} is {}, and should be {}",
                in_words(stored.map(|list| &**list)),
                in_words(Some(&expected))
            );
            return violated(Invariant::Exact, detail);
        }
    }
    Ok(())
}

fn in_words(list: Option<&[Neighbour]>) -> String {
    match list {
        None => "missing".to_owned(),
        Some(list) => {
            let ids: Vec<&str> = list.iter().map(|one| one.id.as_str()).collect();
            format!("{ids:?}")
        }
    }
}

/// At the end, the store must have everything published, and equal a brute-force computation; so must the owners'
/// views.
pub(crate) fn at_the_end(world: &World) -> Checked {
    for name in world.domain_names() {
        domain_at_the_end(world, &name)?;
    }
    Ok(())
}

fn domain_at_the_end(world: &World, name: &DomainName) -> Checked {
    let nothing = Tables::default();
    let tables = world.database.tables.get(name).unwrap_or(&nothing);
    let kind = tables
        .open()
        .model()
        .cloned()
        .unwrap_or_else(|| model("words-1"));
    for model in models_of(tables, &kind) {
        model_at_the_end(world, tables, name, &model)?;
    }
    settings_are_the_last(world, tables, name)?;
    log_is_whole(tables, name)?;
    models_are_ready(tables, name)
}

/// All models must be built, and nothing left of others.
fn models_are_ready(tables: &Tables, name: &DomainName) -> Checked {
    let set = tables.settings.get(&());
    let beside = set.map(|set| set.models.beside());
    for (model, entry) in beside.into_iter().flatten() {
        if entry.stage != Stage::Ready {
            let detail = format!("{model} of {name} is not ready: {entry:?}");
            return violated(Invariant::ConvergesUnaided, detail);
        }
    }
    for (model, lists) in &tables.beside_lists {
        let is_there = beside.is_some_and(|beside| beside.contains_key(model));
        if !is_there && lists.rows().next().is_some() {
            let detail = format!("lists are left of {model} of {name}");
            return violated(Invariant::GoneMeansGone, detail);
        }
    }
    Ok(())
}

fn model_at_the_end(
    world: &World,
    tables: &Tables,
    name: &DomainName,
    of_model: &OfModel<'_>,
) -> Checked {
    let now = world.wall();
    let model = of_model.kind.clone();
    let habits = habits_are_stored(tables, name, of_model, world.shape.have_habits)?;
    let mut features: BTreeMap<ItemId, (Space, Feature)> = BTreeMap::new();
    for (id, event) in &world.newest_of(name, tables)? {
        let Some(row) = tables.items.get(id) else {
            continue;
        };
        let said = match &**event {
            Event::Upsert(upsert) if upsert.hidden || is_expired(upsert, now) => continue,
            Event::Upsert(upsert) => {
                kindred_domain::material::rows_of(upsert, row.version, row.since)
            }
            Event::Patch(patch) => {
                world.is_patched(patch, row, tables)?;
                if !is_shown(row) {
                    continue;
                }
                let text = tables.contents.get(id).cloned();
                (row.clone(), text.unwrap_or_default())
            }
            _ => continue,
        };
        let mut feature = feature_of(&model, &said.0, &said.1, &habits);
        // An item that workers could not process has a zero feature and a reason.
        if row.rejected.is_some()
            && let Some(stored) = tables.features.get(&(id.clone(), model.clone()))
            && stored.feature.is_zero()
        {
            feature = (stored.space.clone(), stored.feature.clone());
        }
        if tables.contents.get(id) != Some(&said.1) {
            return violated(
                Invariant::Exact,
                format!("the text of {id} of {name} is another"),
            );
        }
        features.insert(id.clone(), feature);
    }
    let shown = tables.items.rows().filter(|(_, row)| is_shown(row)).count();
    if shown != features.len() {
        return violated(
            Invariant::GoneMeansGone,
            format!(
                "{shown} items of {name} are visible, and {} should be",
                features.len()
            ),
        );
    }
    compare_lists(name, of_model, &features)?;
    views_agree(world, name, of_model, &features)
}

/// The log must have every change, and no other.
pub(crate) fn log_is_whole(tables: &Tables, name: &DomainName) -> Checked {
    check_log(tables).or_else(|why| violated(Invariant::Exact, format!("the log of {name}: {why}")))
}

/// The stored settings must be those of the last request without a conflict.
fn settings_are_the_last(world: &World, tables: &Tables, name: &DomainName) -> Checked {
    let Some(row) = tables.settings.get(&()) else {
        return Ok(());
    };
    let taken = |answered: &&Answered| !matches!(answered.outcome, SettingsOutcome::Conflict(_));
    let requests = &world.books.requests;
    let mut taken = row.answered.iter().filter(taken);
    let last = taken.rfind(|answered| requests.contains_key(&answered.request));
    let wanted = match last {
        Some(answered) => requests.get(&answered.request),
        // Requests about models may have displaced it.
        None => row.settings.window.as_ref(),
    };
    let model = row.settings.model.clone();
    let model = model.unwrap_or_else(|| self::model("words-1"));
    let of_domain = tables.domain.get(&()).map(|row| &row.model);
    if row.settings.window.as_ref() == wanted && of_domain == Some(&model) {
        return Ok(());
    }
    let detail =
        format!("{name} has {row:?}, and model {of_domain:?}, where {wanted:?} was asked for");
    violated(Invariant::Exact, detail)
}

/// The view of this model in a process that is certain to own the domain must show the same.
fn views_agree(
    world: &World,
    name: &DomainName,
    model: &OfModel<'_>,
    features: &BTreeMap<ItemId, (Space, Feature)>,
) -> Checked {
    for process in world.processes() {
        let now = process.wall(world);
        let mut beside = process.views_beside(world, name);
        let view = match model.is_served {
            true => process.view(world, name),
            false => beside
                .find(|(other, _)| *other == model.name)
                .map(|(_, view)| view),
        };
        let Some(view) = view else {
            continue;
        };
        let snapshot = view.snapshot();
        let Some(snapshot) = &*snapshot else { continue };
        for (id, feature) in features {
            let expected = brute_force(id, feature, features);
            let served = snapshot.item(id.as_str(), now).map(|item| {
                let neighbours = item.neighbours().take(50);
                let neighbours = neighbours.map(|(other, score)| Neighbour {
                    id: other.id().clone(),
                    score,
                });
                neighbours.collect::<Vec<_>>()
            });
            if served.as_ref() != Some(&expected) {
                return violated(
                    Invariant::Exact,
                    format!(
                        "{} serves {id} of {name} by {} otherwise",
                        process.name(),
                        model.name
                    ),
                );
            }
        }
    }
    Ok(())
}

/// The view of a process that is certain to own the domain must not show an item whose end is acknowledged.
pub(crate) fn gone_means_gone(world: &World, process: &Process, name: &DomainName) -> Checked {
    if let Some(view) = process.view(world, name) {
        gone_from(world, process, name, view)?;
    }
    for (_, view) in process.views_beside(world, name) {
        gone_from(world, process, name, view)?;
    }
    Ok(())
}

fn gone_from(world: &World, process: &Process, name: &DomainName, view: &DomainView) -> Checked {
    let Some(tables) = world.database.tables.get(name) else {
        return Ok(());
    };
    let now = process.wall(world);
    let snapshot = view.snapshot();
    let Some(snapshot) = &*snapshot else {
        return Ok(());
    };
    let of_domain = world
        .books
        .acknowledged
        .iter()
        .filter(|((of, _), _)| of == name);
    for ((_, id), version) in of_domain {
        let Some(row) = tables.items.get(id) else {
            continue;
        };
        if row.version != *version || is_shown(row) {
            continue;
        }
        // By a clock that was set back, it has not expired yet, and nobody was told that it has.
        if row.liveness == Liveness::Expired && now < row.since.timestamp_millis() {
            continue;
        }
        if snapshot.item(id.as_str(), now).is_some() {
            return violated(
                Invariant::GoneMeansGone,
                format!(
                    "{} serves {id} of {name} by {:?} after its end",
                    process.name(),
                    snapshot.name()
                ),
            );
        }
    }
    Ok(())
}

pub(crate) fn violated(invariant: Invariant, detail: String) -> Checked {
    Err(Violation { invariant, detail })
}
