//! Rows that are compared together.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::columns::TermColumns;
use super::filter::{Pair, PreparedLeft};
use super::filter_backoff::FilterBackoff;
use super::kernel::Isa;
use super::layout::{Block, Projected};
use super::slices::Sparse;
use super::terms::TermIndex;

/// Most blocks whose columns a tile's terms are cached for at a time.
const PROJECTIONS: usize = 4;

/// A few hundred rows, laid out or not.
pub(super) struct Tile<'a> {
    /// The ids under which other rows' candidates refer to each row.
    pub(super) ids: Vec<u32>,
    pub(super) dense: Vec<&'a [f32]>,
    /// One per row, or empty if no row has one.
    pub(super) sparse: Vec<Sparse<'a>>,
    /// Which rows count; empty if all do.
    pub(super) live: Vec<bool>,
    /// How many rows count.
    pub(super) count: usize,
    /// The rows laid out, if approximate scores come first.
    pub(super) block: Option<&'a Block>,
    /// Values of a laid out row.
    pub(super) length: usize,
    pub(super) backoff: FilterBackoff,
    /// The terms in other blocks' columns, for all rows of the block; made when tiles with those columns are met.
    projections: Mutex<Vec<(Arc<TermColumns>, Arc<Projected>)>>,
    /// The index of all terms; built when exact scores first need it.
    terms: OnceLock<TermIndex>,
}

impl<'a> Tile<'a> {
    /// A tile of rows that all count.
    pub(super) fn new(
        ids: Vec<u32>,
        dense: Vec<&'a [f32]>,
        sparse: Vec<Sparse<'a>>,
        block: Option<&'a Block>,
        length: usize,
    ) -> Self {
        Self {
            live: Vec::new(),
            count: ids.len(),
            ids,
            dense,
            sparse,
            block,
            length,
            backoff: FilterBackoff::default(),
            projections: Mutex::default(),
            terms: OnceLock::new(),
        }
    }

    /// The same, with one flag per row that says whether it counts.
    pub(super) fn with_live(mut self, live: Vec<bool>) -> Self {
        self.count = live.iter().filter(|live| **live).count();
        self.live = if self.count < live.len() {
            live
        } else {
            Vec::new()
        };
        self
    }

    /// Number of rows, including those that do not count.
    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Whether a row counts.
    #[inline(always)]
    pub(super) fn is_live(&self, row: usize) -> bool {
        self.live.get(row).is_none_or(|live| *live)
    }

    /// The index of the sparse parts.
    pub(super) fn terms(&self) -> &TermIndex {
        let index = || TermIndex::of(self.sparse.iter().copied());
        self.terms.get_or_init(index)
    }

    /// Its terms in the columns of another tile, if both have terms; `projected` holds them meanwhile if they are not
    /// its own.
    fn left_terms<'p>(
        &'p self,
        isa: Isa,
        other: &Block,
        projected: &'p mut Option<Arc<Projected>>,
    ) -> Option<&'p Projected> {
        let block = self.block?;
        let (own, other) = (block.terms.as_ref()?, other.terms.as_ref()?);
        if Arc::ptr_eq(&own.columns, &other.columns) {
            return Some(&own.own);
        }
        *projected = Some(self.projected(isa, block.scale, &other.columns));
        projected.as_deref()
    }

    fn projected(&self, isa: Isa, scale: f32, columns: &Arc<TermColumns>) -> Arc<Projected> {
        let locked = || {
            let projections = self.projections.lock();
            projections.unwrap_or_else(PoisonError::into_inner)
        };
        let is_known = |(of, _): &&(Arc<TermColumns>, _)| Arc::ptr_eq(of, columns);
        if let Some((_, projected)) = locked().iter().find(is_known) {
            return Arc::clone(projected);
        }
        let rows = self.sparse.iter().copied();
        let made = Arc::new(Projected::new(columns, rows, scale, isa));
        let mut projections = locked();
        // Another thread may have been faster; then both copies exist for a while.
        if projections.len() >= PROJECTIONS {
            projections.remove(0);
        }
        projections.push((Arc::clone(columns), Arc::clone(&made)));
        made
    }
}

/// Two tiles in the form that the filter takes, if both are laid out alike; `prepared` is the left tile, prepared, and
/// `projected` is a place for its terms in the right tile's columns.
pub(super) fn pair<'p>(
    isa: Isa,
    [left, right]: [&'p Tile<'_>; 2],
    prepared: &'p PreparedLeft,
    projected: &'p mut Option<Arc<Projected>>,
) -> Option<Pair<'p>> {
    let (one, two) = (left.block?, right.block?);
    (left.length == right.length).then(|| Pair {
        isa,
        left: one,
        prepared,
        right: two,
        left_terms: left.left_terms(isa, two, projected),
        length: left.length,
    })
}
