//! The models of a domain: the served one, and those beside it.
//!
//! Each has a name, which appears in lists and answers, and a kind: the way its features are made. Features are stored
//! by kind, so models of one kind share them; lists are stored by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use kindred_shared::event::{MIX, MOST_MIXED, ModelChange, ONNX, VECTORS, Weight};
use kindred_shared::{ModelName, VectorName};
use serde::{Deserialize, Serialize};

use crate::habits::Habits;
use crate::mix::{Mix, Part, kinds_of_texts};
use crate::settings::SettingsOutcome;

/// Most models of a domain.
pub const MOST_MODELS: usize = 64;
/// Longest reason why a model failed, in bytes.
const MOST_REASON: usize = 1_024;

/// The state of a model beside the served one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its features and lists are being made.
    Building,
    /// It has been as complete as the served one, and is kept up to date.
    Ready,
    /// It cannot be built, for this reason.
    Failed(String),
}

/// A model beside the served one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// The way its features are made.
    pub kind: ModelName,
    /// Its state.
    pub stage: Stage,
}

/// A model with rows that are still to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The way its features were made.
    pub kind: ModelName,
    /// Whether the whole model is deleted; otherwise only its lists beside the served model's, because it is served
    /// now.
    pub wholly: bool,
}

/// What is stored about a domain's models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Models {
    /// The name of the served one, once it was chosen; `None`: its name is its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active: Option<ModelName>,
    /// The models beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    beside: BTreeMap<ModelName, ModelEntry>,
    /// Models with rows to delete.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    leaving: BTreeMap<ModelName, Leaving>,
    /// What those among them mix that are mixes, the served one included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    mixes: BTreeMap<ModelName, Mix>,
}

/// The models of a domain whose models were never changed.
pub(crate) static NO_MODELS: Models = Models {
    active: None,
    beside: BTreeMap::new(),
    leaving: BTreeMap::new(),
    mixes: BTreeMap::new(),
};

impl Models {
    /// Whether they were never changed.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The name of the served model, which is of this kind.
    pub fn active<'a>(&'a self, kind: &'a ModelName) -> &'a ModelName {
        self.active.as_ref().unwrap_or(kind)
    }

    /// Whether the served model was chosen: then its kind can be changed in no other way.
    pub fn are_chosen(&self) -> bool {
        self.active.is_some() || !self.beside.is_empty() || !self.leaving.is_empty()
    }

    /// The models beside the served one.
    pub fn beside(&self) -> &BTreeMap<ModelName, ModelEntry> {
        &self.beside
    }

    /// The kinds of all models beside the served one, and of those with rows to delete.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &ModelName> {
        let beside = self.beside.values().map(|entry| &entry.kind);
        beside.chain(self.leaving.values().map(|leaving| &leaving.kind))
    }

    /// What the mixes mix, by name.
    pub fn mixes(&self) -> &BTreeMap<ModelName, Mix> {
        &self.mixes
    }

    /// The kinds that read texts for a model of this kind; none: it compares vectors.
    pub fn kinds_of_texts<'a>(&'a self, kind: &'a ModelName) -> Vec<&'a ModelName> {
        kinds_of_texts(kind, self.mix_of(kind))
    }

    /// What a kind mixes; `None`: it is no mix, or that was not stored.
    pub fn mix_of(&self, kind: &ModelName) -> Option<&Mix> {
        let mixes = kind.is_mix().then(|| self.mixes.values());
        mixes.into_iter().flatten().find(|mix| mix.kind() == *kind)
    }

    /// The kind of a model as it is asked for and shown.
    pub fn shown_kind(&self, model: &ModelName, kind: &ModelName) -> ShownKind {
        let vector = kind.vector();
        let name = match &vector {
            Some(_) => VECTORS,
            None if kind.is_mix() => MIX,
            None if kind.encoder().is_some() => ONNX,
            None => kind.as_str(),
        };
        let (encoder, fingerprint) = kind.encoder().unzip();
        // Mixes of one kind may name other models.
        let own = self.mixes.get(model).filter(|mix| mix.kind() == *kind);
        let mix = own.or_else(|| self.mix_of(kind));
        let parts = mix.map(Mix::parts).into_iter().flatten();
        let of = parts.map(|(name, part)| (name.clone(), part.weight));
        ShownKind {
            kind: name.to_owned(),
            vector,
            of: of.collect(),
            encoder: encoder.map(str::to_owned),
            fingerprint: fingerprint.map(str::to_owned),
        }
    }

    /// Of what is stored only that which tells how features of a kind are made.
    #[must_use]
    pub(crate) fn only_mix_of(&self, kind: &ModelName) -> Self {
        let mixes = self.mixes.iter().filter(|(_, mix)| mix.kind() == *kind);
        let mixes = mixes.map(|(name, mix)| (name.clone(), mix.clone()));
        Self {
            mixes: mixes.collect(),
            ..Self::default()
        }
    }

    /// A mix of these models.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn mixed(
        &self,
        active_kind: &ModelName,
        of: &BTreeMap<ModelName, Weight>,
    ) -> Result<Mix, Unmixed> {
        let active = self.active(active_kind);
        let part = |(name, weight): (&ModelName, &Weight)| {
            let beside = self.beside.get(name).map(|entry| &entry.kind);
            let kind = beside.or_else(|| (name == active).then_some(active_kind));
            match kind {
                None => Err(Unmixed::Unknown(name.clone())),
                Some(kind) if kind.is_mix() => Err(Unmixed::IsMix(name.clone())),
                Some(kind) => Ok((
                    name.clone(),
                    Part {
                        kind: kind.clone(),
                        weight: *weight,
                    },
                )),
            }
        };
        let parts: BTreeMap<_, _> = of.iter().map(part).collect::<Result<_, _>>()?;
        if (1..=MOST_MIXED).contains(&parts.len()) {
            Ok(Mix::new(parts))
        } else {
            Err(Unmixed::Count(parts.len()))
        }
    }

    /// The first mix that mixes this model.
    fn mixed_by(&self, name: &ModelName) -> Option<&ModelName> {
        let mut mixes = self.mixes.iter();
        let found = mixes.find(|(_, mix)| mix.parts().contains_key(name));
        found.map(|(by, _)| by)
    }

    /// Whether queries may use this model beside the served one.
    pub fn is_ready(&self, name: &ModelName) -> bool {
        let entry = self.beside.get(name);
        entry.is_some_and(|entry| entry.stage == Stage::Ready)
    }

    /// The models that follow the domain's events.
    pub(crate) fn followed(&self) -> Vec<Followed> {
        let kept = self.beside.iter();
        let kept = kept.filter(|(_, entry)| !matches!(entry.stage, Stage::Failed(_)));
        kept.map(|(name, entry)| Followed {
            name: name.clone(),
            kind: entry.kind.clone(),
            is_ready: entry.stage == Stage::Ready,
            lacks_mix: entry.kind.is_mix() && self.mix_of(&entry.kind).is_none(),
        })
        .collect()
    }

    /// Whether any model has rows to delete.
    pub(crate) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The next model with rows to delete, and whether its features go too or another model shares them.
    pub(crate) fn next_leaving(&self, active_kind: &ModelName) -> Option<Swept> {
        let (name, Leaving { kind, wholly }) = self.leaving.iter().next()?;
        let mut kinds = self.beside.values().map(|entry| &entry.kind);
        let is_shared = kind == active_kind || kinds.any(|other| other == kind);
        Some(Swept {
            name: name.clone(),
            wholly: *wholly,
            features: (*wholly && !is_shared).then(|| kind.clone()),
        })
    }

    /// Records that the model's rows are deleted.
    pub(crate) fn left(&mut self, name: &ModelName) {
        self.leaving.remove(name);
    }

    /// The outcome of a change; `None`: another model is to be served, which takes more than one step.
    pub(crate) fn change(
        &mut self,
        active_kind: &ModelName,
        name: &ModelName,
        change: &ModelChange,
    ) -> Option<SettingsOutcome> {
        let active = self.active(active_kind).clone();
        let conflict = |why: String| Some(SettingsOutcome::Conflict(why));
        match change {
            ModelChange::Put { kind, of } if kind.as_str() == MIX => {
                match self.mixed(active_kind, of) {
                    Ok(mix) => Some(self.put_mix(&active, active_kind, name, mix)),
                    Err(why) => conflict(why.to_string()),
                }
            }
            ModelChange::Put { kind, .. } => Some(self.put(&active, active_kind, name, kind)),
            ModelChange::Activate if *name == active => Some(SettingsOutcome::Activated(active)),
            ModelChange::Activate => match self.beside.get(name).map(|entry| &entry.stage) {
                None => Some(SettingsOutcome::Unknown),
                Some(Stage::Ready) => None,
                Some(Stage::Building) => conflict(format!("{name} is being built")),
                Some(Stage::Failed(why)) => conflict(format!("{name} could not be built: {why}")),
            },
            ModelChange::Delete if *name == active => {
                conflict(format!("{name} is served; activate another one first"))
            }
            ModelChange::Delete if self.mixed_by(name).is_some() => {
                let by = self.mixed_by(name)?;
                conflict(format!("{by} mixes {name}; delete {by} first"))
            }
            ModelChange::Delete => match self.beside.remove(name) {
                None => Some(SettingsOutcome::Unknown),
                Some(ModelEntry { kind, .. }) => {
                    self.mixes.remove(name);
                    let wholly = true;
                    self.leaving.insert(name.clone(), Leaving { kind, wholly });
                    Some(SettingsOutcome::Deleted)
                }
            },
        }
    }

    fn put_mix(
        &mut self,
        active: &ModelName,
        active_kind: &ModelName,
        name: &ModelName,
        mix: Mix,
    ) -> SettingsOutcome {
        let known = self.mixes.get(name);
        if known.is_some_and(|known| *known != mix) {
            return SettingsOutcome::Conflict(format!(
                "{name} is another mix; give this one another name"
            ));
        }
        let outcome = self.put(active, active_kind, name, &mix.kind());
        if matches!(
            outcome,
            SettingsOutcome::Created | SettingsOutcome::Replaced
        ) {
            self.mixes.insert(name.clone(), mix);
        }
        outcome
    }

    fn put(
        &mut self,
        active: &ModelName,
        active_kind: &ModelName,
        name: &ModelName,
        kind: &ModelName,
    ) -> SettingsOutcome {
        let is_of = |other: &ModelName| {
            let why = match other.vector() {
                _ if other.is_mix() && kind.is_mix() => format!("{name} is another mix"),
                _ if other.is_mix() => format!("{name} is a mix"),
                Some(vector) => format!("{name} compares the vectors {vector}"),
                None => format!("{name} is of kind {other}"),
            };
            SettingsOutcome::Conflict(format!("{why}; give this one another name"))
        };
        if name == active {
            return if kind == active_kind {
                SettingsOutcome::Replaced
            } else {
                is_of(active_kind)
            };
        }
        if self.leaving.get(name).is_some_and(|leaving| leaving.wholly) {
            let why = format!("rows of the former {name} are still being deleted; try again");
            return SettingsOutcome::Conflict(why);
        }
        let mut others = self.beside.values().map(|entry| &entry.kind);
        let are_kept = kind == active_kind || others.any(|other| other == kind);
        let leaves = |leaving: &Leaving| leaving.wholly && leaving.kind == *kind;
        if !are_kept && self.leaving.values().any(leaves) {
            let why =
                format!("features of the former model of kind {kind} are being deleted; try again");
            return SettingsOutcome::Conflict(why);
        }
        let count = self.beside.len() + 1;
        match self.beside.get_mut(name) {
            Some(entry) if entry.kind != *kind => is_of(&entry.kind),
            Some(entry) => {
                if matches!(entry.stage, Stage::Failed(_)) {
                    entry.stage = Stage::Building;
                }
                SettingsOutcome::Replaced
            }
            None if count >= MOST_MODELS => {
                let why = format!("a domain has at most {MOST_MODELS} models; delete one first");
                SettingsOutcome::Conflict(why)
            }
            None => {
                let entry = ModelEntry {
                    kind: kind.clone(),
                    stage: Stage::Building,
                };
                self.beside.insert(name.clone(), entry);
                SettingsOutcome::Created
            }
        }
    }

    /// Sets the state of a model; returns whether it changed.
    pub(crate) fn reach(&mut self, name: &ModelName, stage: Stage) -> bool {
        let stage = match stage {
            Stage::Failed(mut why) => {
                why.truncate(why.floor_char_boundary(MOST_REASON));
                Stage::Failed(why)
            }
            stage => stage,
        };
        let entry = self.beside.get_mut(name);
        match entry.filter(|entry| entry.stage != stage) {
            Some(entry) => {
                entry.stage = stage;
                true
            }
            None => false,
        }
    }

    /// A ready model replaces the served one, which is of this kind and stays beside it. Returns the kind of the model
    /// that is served now; `None`: there is no such model.
    pub(crate) fn activate(
        &mut self,
        active_kind: &ModelName,
        name: &ModelName,
    ) -> Option<ModelName> {
        let was = self.active(active_kind).clone();
        let kind = self.beside.remove(name)?.kind;
        let entry = ModelEntry {
            kind: active_kind.clone(),
            stage: Stage::Ready,
        };
        // All of its lists are written there again.
        self.leaving.remove(&was);
        self.beside.insert(was, entry);
        let leaving = Leaving {
            kind: kind.clone(),
            wholly: false,
        };
        self.leaving.insert(name.clone(), leaving);
        self.active = Some(name.clone());
        Some(kind)
    }
}

/// A kind as it is asked for and shown: `vectors`, `mix` and `onnx` say of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownKind {
    /// The kind.
    pub kind: String,
    /// Of kind `vectors`: the name of the vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorName>,
    /// Of kind `mix`: the models that it mixes, and their weights.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<ModelName, Weight>,
    /// Of kind `onnx`: the encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Of kind `onnx`: identifies the encoder's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// A model that follows the domain's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub name: ModelName,
    /// The way its features are made.
    pub kind: ModelName,
    /// Whether queries may use it.
    pub is_ready: bool,
    /// Whether it is a mix, and what it mixes is not stored.
    pub lacks_mix: bool,
}

/// Why there can be no mix of some models.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmixed {
    /// The domain has no model of this name.
    #[error("the domain has no model {0} to mix")]
    Unknown(ModelName),
    /// This model is a mix.
    #[error("{0} is a mix itself; mix its models instead")]
    IsMix(ModelName),
    /// There are none, or too many.
    #[error("a mix has 1 to {MOST_MIXED} models; this one has {0}")]
    Count(usize),
}

/// What to delete of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub name: ModelName,
    /// Whether all of its rows are deleted, or only its lists.
    pub wholly: bool,
    /// The kind whose features are deleted too; `None`: another model shares them, or the model stays.
    pub features: Option<ModelName>,
}

/// What the machine of a model beside the served one reports to the machine of the served one.
#[derive(Debug, Clone, Default)]
pub struct ModelReport {
    /// Whether it has been as complete as the served one.
    pub is_whole: bool,
    /// Whether everything it has is stored, and marked clean in the store.
    pub is_clean: bool,
    /// Why it cannot be built, if so.
    pub failed: Option<String>,
    /// The habits with which its features were made.
    pub habits: Arc<Habits>,
}

impl PartialEq for ModelReport {
    fn eq(&self, other: &Self) -> bool {
        (self.is_whole, self.is_clean, &self.failed)
            == (other.is_whole, other.is_clean, &other.failed)
            && Arc::ptr_eq(&self.habits, &other.habits)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn name(name: &str) -> ModelName {
        ModelName::new(name).unwrap()
    }

    fn put(kind: &str) -> ModelChange {
        let kind = name(kind);
        let of = BTreeMap::new();
        ModelChange::Put { kind, of }
    }

    fn put_mix(of: &[(&str, f64)]) -> ModelChange {
        let of = of.iter();
        let of = of.map(|(part, weight)| (name(part), Weight::new(*weight).unwrap()));
        ModelChange::Put {
            kind: name(MIX),
            of: of.collect(),
        }
    }

    #[test]
    fn a_mix_keeps_what_it_mixes() {
        let (mut models, kind) = (Models::default(), name("text-2"));
        models.change(&kind, &name("pictures"), &put("vectors-clip"));
        let refused =
            |models: &mut Models, on: &str, change: &ModelChange, words: &str| match models.change(
                &kind,
                &name(on),
                change,
            ) {
                Some(SettingsOutcome::Conflict(why)) => assert!(why.contains(words), "{why}"),
                other => panic!("{other:?}"),
            };
        let both = put_mix(&[("text-2", 0.7), ("pictures", 0.3)]);
        refused(
            &mut models,
            "best",
            &put_mix(&[("none", 1.0)]),
            "no model none",
        );
        refused(&mut models, "best", &put_mix(&[]), "has 0");
        // A mix of itself is one of a model that is not there yet, and later one of a mix.
        refused(
            &mut models,
            "best",
            &put_mix(&[("best", 1.0)]),
            "no model best",
        );
        let created = models.change(&kind, &name("best"), &both);
        assert_eq!(created, Some(SettingsOutcome::Created));
        let again = models.change(&kind, &name("best"), &both);
        assert_eq!(again, Some(SettingsOutcome::Replaced));
        refused(
            &mut models,
            "best",
            &put_mix(&[("best", 1.0)]),
            "is a mix itself",
        );
        refused(
            &mut models,
            "other",
            &put_mix(&[("best", 1.0)]),
            "is a mix itself",
        );
        refused(
            &mut models,
            "best",
            &put_mix(&[("text-2", 1.0)]),
            "another mix",
        );
        refused(
            &mut models,
            "pictures",
            &ModelChange::Delete,
            "best mixes pictures",
        );

        let of = models.beside()[&name("best")].kind.clone();
        assert_eq!(models.mix_of(&of).unwrap().parts().len(), 2);
        assert_eq!(models.only_mix_of(&of).mix_of(&of), models.mix_of(&of));
        assert!(models.followed().iter().all(|one| !one.lacks_mix));
        models.reach(&name("best"), Stage::Ready);
        assert_eq!(models.activate(&kind, &name("best")), Some(of.clone()));
        assert!(models.mix_of(&of).is_some(), "it is served");
        let gone = models.change(&of, &name("text-2"), &ModelChange::Delete);
        assert!(
            matches!(gone, Some(SettingsOutcome::Conflict(_))),
            "{gone:?}"
        );
        models.activate(&of, &name("text-2"));
        let gone = models.change(&kind, &name("best"), &ModelChange::Delete);
        assert_eq!(gone, Some(SettingsOutcome::Deleted));
        assert_eq!(models.mix_of(&of), None);
        let gone = models.change(&kind, &name("pictures"), &ModelChange::Delete);
        assert_eq!(gone, Some(SettingsOutcome::Deleted));
    }

    #[test]
    fn mixes_of_one_kind_are_shown_with_the_models_that_each_names() {
        let (mut models, kind) = (Models::default(), name("text-2"));
        let second = models.change(&kind, &name("second"), &put("text-2"));
        assert_eq!(second, Some(SettingsOutcome::Created));
        let [half, whole] = [0.5, 1.0].map(|weight| Weight::new(weight).unwrap());
        let of =
            |second, first| BTreeMap::from([(name("second"), second), (name("text-2"), first)]);
        for (mix, of) in [("b", of(whole, half)), ("a", of(half, whole))] {
            let put = ModelChange::Put {
                kind: name(MIX),
                of,
            };
            let created = models.change(&kind, &name(mix), &put);
            assert_eq!(created, Some(SettingsOutcome::Created));
        }
        let kinds = ["a", "b"].map(|mix| models.beside()[&name(mix)].kind.clone());
        assert_eq!(kinds[0], kinds[1]);
        let shown = |mix: &str| models.shown_kind(&name(mix), &kinds[0]).of;
        assert_eq!(shown("a"), of(half, whole));
        assert_eq!(shown("b"), of(whole, half));
        // What a name mixes does not change.
        let of = of(half, whole);
        let other = models.change(
            &kind,
            &name("b"),
            &ModelChange::Put {
                kind: name(MIX),
                of,
            },
        );
        assert!(
            matches!(other, Some(SettingsOutcome::Conflict(_))),
            "{other:?}"
        );
    }

    #[test]
    fn a_model_is_built_served_and_deleted() {
        let (mut models, kind) = (Models::default(), name("text-2"));
        let change = |models: &mut Models, on: &str, change: &ModelChange| {
            models.change(&kind, &name(on), change)
        };
        let conflicts = |outcome: Option<SettingsOutcome>| {
            assert!(
                matches!(outcome, Some(SettingsOutcome::Conflict(_))),
                "{outcome:?}"
            );
        };
        assert_eq!(models.active(&name("text-2")), &name("text-2"));
        conflicts(change(&mut models, "text-2", &put("words-1")));
        conflicts(change(&mut models, "text-2", &ModelChange::Delete));
        let created = change(&mut models, "new", &put("words-1"));
        assert_eq!(created, Some(SettingsOutcome::Created));
        let again = change(&mut models, "new", &put("words-1"));
        assert_eq!(again, Some(SettingsOutcome::Replaced));
        conflicts(change(&mut models, "new", &put("text-2")));
        conflicts(change(&mut models, "new", &ModelChange::Activate));
        assert!(!models.is_ready(&name("new")));
        assert!(models.reach(&name("new"), Stage::Ready));
        assert!(!models.reach(&name("new"), Stage::Ready), "no news");
        assert_eq!(change(&mut models, "new", &ModelChange::Activate), None);
        let unknown = change(&mut models, "other", &ModelChange::Activate);
        assert_eq!(unknown, Some(SettingsOutcome::Unknown));

        assert_eq!(
            models.activate(&name("text-2"), &name("new")),
            Some(name("words-1"))
        );
        let kind = name("words-1");
        assert_eq!(models.active(&kind), &name("new"));
        assert!(models.is_ready(&name("text-2")), "the former one stays");
        let lists = models.next_leaving(&kind).unwrap();
        assert_eq!(
            (lists.name, lists.wholly, lists.features),
            (name("new"), false, None)
        );
        // Served again at once: its lists are no longer those beside a served model.
        assert_eq!(
            models.activate(&kind, &name("text-2")),
            Some(name("text-2"))
        );
        let kind = name("text-2");
        assert_eq!(models.next_leaving(&kind).unwrap().name, name("text-2"));
        models.left(&name("text-2"));
        let gone = models.change(&kind, &name("new"), &ModelChange::Delete);
        assert_eq!(gone, Some(SettingsOutcome::Deleted));
        let all = models.next_leaving(&kind).unwrap();
        assert_eq!((all.wholly, all.features), (true, Some(name("words-1"))));
        conflicts(models.change(&kind, &name("new"), &put("words-1")));
        models.left(&name("new"));
        assert_eq!(models.next_leaving(&kind), None);
    }

    #[test]
    fn features_that_another_model_has_too_stay() {
        let (mut models, kind) = (Models::default(), name("text-2"));
        for of_kind in ["a", "b"] {
            models.change(&kind, &name(of_kind), &put("words-1"));
        }
        models.change(&kind, &name("copy"), &put("text-2"));
        models.change(&kind, &name("copy"), &ModelChange::Delete);
        assert_eq!(models.next_leaving(&kind).unwrap().features, None);
        models.left(&name("copy"));
        models.change(&kind, &name("a"), &ModelChange::Delete);
        assert_eq!(models.next_leaving(&kind).unwrap().features, None);
        models.change(&kind, &name("b"), &ModelChange::Delete);
        let features = models.next_leaving(&kind).unwrap().features;
        assert_eq!(features, Some(name("words-1")));
    }

    #[test]
    fn a_domain_has_so_many_models_and_one_that_failed_may_be_tried_again() {
        let (mut models, kind) = (Models::default(), name("text-2"));
        for n in 1..MOST_MODELS {
            let created = models.change(&kind, &name(&format!("m{n}")), &put("words-1"));
            assert_eq!(created, Some(SettingsOutcome::Created));
        }
        let one_more = models.change(&kind, &name("more"), &put("words-1"));
        assert!(matches!(one_more, Some(SettingsOutcome::Conflict(_))));
        assert_eq!(models.followed().len(), MOST_MODELS - 1);
        models.reach(&name("m1"), Stage::Failed("é".repeat(MOST_REASON)));
        assert_eq!(models.followed().len(), MOST_MODELS - 2);
        let again = models.change(&kind, &name("m1"), &put("words-1"));
        assert_eq!(again, Some(SettingsOutcome::Replaced));
        assert_eq!(models.beside()[&name("m1")].stage, Stage::Building);
    }

    #[test]
    fn is_read_back_as_it_was_written() {
        let mut models = Models::default();
        assert_eq!(serde_json::to_string(&models).unwrap(), "{}");
        models.change(&name("text-2"), &name("a"), &put("words-1"));
        models.reach(&name("a"), Stage::Failed("why".to_owned()));
        let text = serde_json::to_string(&models).unwrap();
        assert_eq!(serde_json::from_str::<Models>(&text).unwrap(), models);
    }
}
