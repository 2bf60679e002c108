//! An immutable snapshot of one domain, and how a change produces the next one.

use std::fmt;
use std::sync::Arc;

use kindred_shared::{ItemId, ModelName, Space};

use crate::filter::Facts;
use crate::index::Index;
use crate::signature::Signature;
use kindred_domain::features::{Features, Live};
use kindred_domain::habits::Habits;
use kindred_domain::list::ListEntry;
use kindred_domain::memory;
use kindred_domain::settings::DomainSettings;
use kindred_domain::shown::Shown;
use kindred_domain::slot::Slot;
use kindred_domain::view_change::{Listed, Renewed, ViewChange};

/// Slots per chunk. A change copies the chunks that it touches (one pointer per slot) and the table of chunks (one
/// pointer per chunk).
const CHUNK: usize = u64::BITS as usize;

/// Consecutive slots, and what scans look at before their rows.
#[derive(Clone)]
struct Chunk {
    rows: [Option<Arc<Row>>; CHUNK],
    signatures: [Signature; CHUNK],
    /// A bit for each slot that has a row.
    there: u64,
    /// A bit for each slot whose row will expire, or has expired.
    expiring: u64,
}

impl Chunk {
    const EMPTY: Self = Self {
        rows: [const { None }; CHUNK],
        signatures: [Signature::NONE; CHUNK],
        there: 0,
        expiring: 0,
    };

    /// Puts a row into a slot, or empties it; returns the previous row.
    fn put(&mut self, at: usize, row: Option<Arc<Row>>) -> Option<Arc<Row>> {
        let (bit, before) = (1 << at, &self.rows[at]);
        self.there &= !bit;
        self.expiring &= !bit;
        if let Some(row) = &row {
            self.there |= bit;
            self.expiring |= u64::from(row.expires_at.is_some()) << at;
            if !before
                .as_ref()
                .is_some_and(|before| before.has_equal_facts(row))
            {
                self.signatures[at] = Signature::of(&row.facts());
            }
        }
        std::mem::replace(&mut self.rows[at], row)
    }
}

/// What readers see of one domain at one moment.
pub struct Snapshot {
    chunks: Vec<Arc<Chunk>>,
    index: Index,
    /// Number of slots in the index.
    indexed: usize,
    /// Number of visible items, including those that have expired since.
    rows: usize,
    model: Option<ModelName>,
    name: Option<ModelName>,
    settings: Arc<DomainSettings>,
    habits: Arc<Habits>,
    features: Features,
    /// Slots from this one on have never had an item. A slot is not used twice: features may still have a row of an item
    /// that is gone.
    unused: Slot,
}

/// A visible item.
#[derive(Debug, Clone)]
struct Row {
    id: ItemId,
    shown: Arc<Shown>,
    expires_at: Option<i64>,
    space: Option<Space>,
    list: Option<List>,
}

impl Row {
    fn facts(&self) -> Facts<'_> {
        Facts {
            id: self.id.as_str(),
            language: self.space.as_ref().and_then(Space::language),
            shown: &self.shown,
        }
    }

    /// Whether the facts are the same as another's, as far as a quick look can tell.
    fn has_equal_facts(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shown, &other.shown) && self.space == other.space
    }
}

#[derive(Debug, Clone)]
struct List {
    entries: Arc<[ListEntry]>,
    version: u64,
    served_since: i64,
    as_of: i64,
    zero: bool,
    bound: Option<f32>,
    hub: f64,
}

/// The state in which an item is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Version of the feature from which its list was computed.
    pub version: u64,
    /// When this version was first served, in ms since 1970; 0: before this domain was loaded.
    pub since: i64,
    /// When the list was computed, in ms since 1970.
    pub as_of: i64,
    /// Whether there is nothing to compare.
    pub zero: bool,
}

/// A visible item of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    snapshot: &'a Snapshot,
    row: &'a Row,
    slot: Slot,
    now: i64,
}

/// Number of neighbours whose mean score is an item's hubness.
const HUB: usize = 10;

/// How close an item is to its closest neighbours: the mean of the first ten scores of its list, where missing ones
/// count as 0.
fn hub(entries: &[ListEntry]) -> f64 {
    let scores = entries.iter().take(HUB).map(|entry| f64::from(entry.score));
    scores.sum::<f64>() / HUB as f64
}

impl Snapshot {
    /// The item, if it is visible; `now` in ms since 1970.
    pub fn item(&self, id: &str, now: i64) -> Option<Item<'_>> {
        let slot = self.slot(id)?;
        self.visible(slot, now)
    }

    /// The model's name in the domain.
    pub fn name(&self) -> Option<&ModelName> {
        self.name.as_ref().or(self.model())
    }

    /// The domain's model; `None`: the domain was not registered when it was loaded, and has had no item since.
    pub fn model(&self) -> Option<&ModelName> {
        self.model.as_ref()
    }

    /// The id of a slot, even if its item has expired; `None`: there is no item in it.
    pub(crate) fn id(&self, slot: Slot) -> Option<&ItemId> {
        self.row(slot).map(|row| &row.id)
    }

    /// The domain's settings.
    pub fn settings(&self) -> &Arc<DomainSettings> {
        &self.settings
    }

    /// The habits of the domain's texts.
    pub fn habits(&self) -> &Arc<Habits> {
        &self.habits
    }

    /// All features.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Every visible item, in any order; `now` in ms since 1970.
    pub fn items(&self, now: i64) -> impl Iterator<Item = Item<'_>> {
        let slots = 0..u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX);
        slots.filter_map(move |slot| self.visible(Slot(slot), now))
    }

    /// An estimate of the bytes held, without ids, lists and what readers see, which the machine shares.
    pub(crate) fn memory(&self) -> u64 {
        let chunks = memory::vector::<Arc<Chunk>>(self.chunks.capacity())
            + self.chunks.len() as u64 * memory::shared(size_of::<Chunk>());
        let rows = self.rows as u64 * memory::shared(size_of::<Row>());
        chunks + rows + self.index.memory()
    }

    fn row(&self, slot: Slot) -> Option<&Arc<Row>> {
        let chunk = self.chunks.get(slot.index() / CHUNK)?;
        chunk.rows[slot.index() % CHUNK].as_ref()
    }

    /// The signature of the item of a slot, if it is visible. Looks at the item itself only if that expires.
    pub(crate) fn signature(&self, slot: Slot, now: i64) -> Option<Signature> {
        let (chunk, at) = (self.chunks.get(slot.index() / CHUNK)?, slot.index() % CHUNK);
        let is = |bits: u64| bits >> at & 1 == 1;
        let is_visible =
            is(chunk.there) && (!is(chunk.expiring) || self.visible(slot, now).is_some());
        is_visible.then(|| chunk.signatures[at])
    }

    fn slot(&self, id: &str) -> Option<Slot> {
        let is_id = |slot| self.row(slot).is_some_and(|row| row.id.as_str() == id);
        self.index.find(id, is_id)
    }

    /// The item of a slot, if it is visible.
    pub(crate) fn visible(&self, slot: Slot, now: i64) -> Option<Item<'_>> {
        let row = self.row(slot)?;
        row.expires_at.is_none_or(|at| at > now).then_some(Item {
            snapshot: self,
            row,
            slot,
            now,
        })
    }

    /// The snapshot of a domain that has just been loaded.
    pub(crate) fn loaded(change: ViewChange, now: i64) -> Self {
        let empty = Self {
            chunks: Vec::new(),
            index: Index::with_room_for(change.listed.len()),
            indexed: 0,
            rows: 0,
            model: None,
            name: None,
            settings: Arc::default(),
            habits: Arc::default(),
            features: Features::default(),
            unused: Slot(0),
        };
        empty.changed(change, now)
    }

    /// The snapshot after a change; it shares everything unchanged.
    pub(crate) fn changed(&self, change: ViewChange, now: i64) -> Self {
        let mut next = Self {
            chunks: self.chunks.clone(),
            index: self.index.clone(),
            indexed: self.indexed,
            rows: self.rows,
            model: change.model.or_else(|| self.model.clone()),
            name: change.name.or_else(|| self.name.clone()),
            settings: change
                .settings
                .unwrap_or_else(|| Arc::clone(&self.settings)),
            habits: (change.habits).unwrap_or_else(|| Arc::clone(&self.habits)),
            features: change.features.unwrap_or_else(|| self.features.clone()),
            unused: self.unused,
        };
        for id in &change.gone {
            if let Some(slot) = next.slot(id.as_str()) {
                let gone = next.put(slot, None);
                next.rows -= usize::from(gone.is_some());
            }
        }
        for listed in change.listed {
            next.list(listed, change.replace, now);
        }
        for renewed in change.renewed {
            next.renew(renewed);
        }
        next
    }

    fn list(&mut self, listed: Listed, replace: bool, now: i64) {
        let slot = listed.slot;
        self.append(&listed.id, slot);
        let before = self.row(slot).and_then(|row| row.list.as_ref());
        let list = listed.list.map(|list| {
            let same = before.filter(|before| before.version == list.version);
            let unchanged = same.filter(|before| Arc::ptr_eq(&before.entries, &list.entries));
            List {
                version: list.version,
                served_since: same.map_or(if replace { 0 } else { now }, |same| same.served_since),
                as_of: unchanged.map_or(now, |same| same.as_of),
                zero: list.zero,
                bound: list.bound,
                hub: hub(&list.entries),
                entries: list.entries,
            }
        });
        let row = Arc::new(Row {
            id: listed.id,
            shown: listed.shown,
            expires_at: listed.expires_at,
            space: listed.space,
            list,
        });
        let before = self.put(slot, Some(row));
        self.rows += usize::from(before.is_none());
    }

    fn renew(&mut self, renewed: Renewed) {
        let Renewed {
            id,
            expires_at,
            shown,
        } = renewed;
        let known = self.slot(id.as_str());
        let slot = known.unwrap_or(self.unused);
        let row = match known.and_then(|slot| self.row(slot)) {
            Some(row) => Row {
                shown,
                expires_at,
                ..Row::clone(row)
            },
            // It has no feature here before the domain is loaded.
            None => {
                self.append(&id, slot);
                self.rows += 1;
                Row {
                    id,
                    shown,
                    expires_at,
                    space: None,
                    list: None,
                }
            }
        };
        self.put(slot, Some(Arc::new(row)));
    }

    /// Puts a row into a slot, in a chunk that no other snapshot shares; returns the previous row.
    fn put(&mut self, slot: Slot, row: Option<Arc<Row>>) -> Option<Arc<Row>> {
        self.unused = self.unused.max(Slot(slot.0 + 1));
        let at = slot.index() / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize(at + 1, Arc::new(Chunk::EMPTY));
        }
        Arc::make_mut(&mut self.chunks[at]).put(slot.index() % CHUNK, row)
    }

    fn append(&mut self, id: &ItemId, slot: Slot) {
        if self.indexed == self.index.room() {
            let rows = self.chunks.iter().flat_map(|chunk| chunk.rows.iter());
            let rows = rows
                .enumerate()
                .filter_map(|(at, row)| Some((at, row.as_ref()?)));
            // Ids that are gone are not copied.
            let larger = Index::with_room_for(2 * rows.clone().count().max(1));
            self.indexed = 0;
            for (at, row) in rows {
                let at = u32::try_from(at).expect("slots are counted in u32");
                self.indexed += usize::from(larger.append(row.id.as_str(), Slot(at)));
            }
            self.index = larger;
        }
        self.indexed += usize::from(self.index.append(id.as_str(), slot));
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("chunks", &self.chunks.len())
            .field("indexed", &self.indexed)
            .field("model", &self.name())
            .finish_non_exhaustive()
    }
}

impl<'a> Item<'a> {
    /// When it appeared, in ms since 1970: as published, otherwise when it was scheduled, otherwise when it was
    /// accepted; `None`: unknown.
    pub(crate) fn shown_since(&self) -> Option<i64> {
        let Shown {
            published_at,
            publish_at,
            accepted_at,
            ..
        } = self.shown();
        let since = published_at.or(*publish_at).or(*accepted_at)?;
        Some(since.timestamp_millis())
    }

    /// Its slot in this snapshot.
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// The facts by which it is filtered.
    pub fn facts(&self) -> Facts<'a> {
        self.row.facts()
    }

    /// Where its feature is; `None`: it has none, or a zero feature.
    pub(crate) fn feature(&self) -> Option<(&'a Space, &'a Live, u32)> {
        let features = &self.snapshot.features;
        features.find(self.slot, self.row.space.as_ref())
    }

    /// The score that no row absent from its list exceeds (`Some(None)`: no absent row has a score above 0); `None`: it
    /// has no list yet.
    pub(crate) fn bound(&self) -> Option<Option<f32>> {
        self.row.list.as_ref().map(|list| list.bound)
    }

    /// Whether it has a list that contains everything similar to it, or at least this many visible entries.
    pub fn lists(&self, count: usize) -> bool {
        let bound = self.bound();
        bound.is_some_and(|bound| bound.is_none() || self.neighbours().nth(count - 1).is_some())
    }

    /// Its hubness: the mean of the first ten scores of its list, where missing ones count as 0.
    pub(crate) fn hub(&self) -> f64 {
        self.row.list.as_ref().map_or(0.0, |list| list.hub)
    }

    /// Its id.
    pub fn id(&self) -> &'a ItemId {
        &self.row.id
    }

    /// What readers see of it.
    pub fn shown(&self) -> &'a Shown {
        &self.row.shown
    }

    /// The model by which it is compared: that of own vectors, or the domain's.
    pub fn model(&self) -> Option<&'a str> {
        let space = self.row.space.as_ref();
        match space.filter(|space| space.is_own() || self.snapshot.name.is_none()) {
            Some(space) => Some(space.model_name()),
            None => self.snapshot.name().map(ModelName::as_str),
        }
    }

    /// The language in which its text was read, otherwise as published.
    pub fn language(&self) -> Option<&'a str> {
        let of_space = self.row.space.as_ref().and_then(Space::language);
        of_space.or(self.row.shown.language.as_deref())
    }

    /// The state in which it is served; `None`: its first list is being computed.
    pub fn served(&self) -> Option<Served> {
        let list = self.row.list.as_ref()?;
        Some(Served {
            version: list.version,
            since: list.served_since,
            as_of: list.as_of,
            zero: list.zero,
        })
    }

    /// Its visible neighbours and their scores, best first; more than it is entitled to.
    pub fn neighbours(&self) -> impl Iterator<Item = (Item<'a>, f32)> + use<'a> {
        let (snapshot, now) = (self.snapshot, self.now);
        let entries = self.row.list.as_ref().map_or(&[][..], |list| &list.entries);
        entries
            .iter()
            .filter_map(move |entry| Some((snapshot.visible(entry.slot, now)?, entry.score)))
    }
}
