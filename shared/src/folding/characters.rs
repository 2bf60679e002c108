//! Characters that folding leaves unchanged, known from a single table look-up.
//!
//! Nearly all characters of ordinary text are among them, and Unicode's normalization costs far more per character than
//! the look-up.

use std::sync::OnceLock;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, is_nfkc_quick};

use super::{Folding, apostrophe, is_dropped_mark, is_ignorable};

/// Characters of the Basic Multilingual Plane, one bit each.
struct Set(Box<[u64; 1024]>);

impl Set {
    fn of(belongs: impl Fn(char) -> bool) -> Self {
        let mut bits = Box::new([0; 1024]);
        for c in '\0'..='\u{ffff}' {
            bits[c as usize / 64] |= u64::from(belongs(c)) << (c as u32 % 64);
        }
        Self(bits)
    }

    fn contains(&self, c: char) -> bool {
        let word = self.0.get(c as usize / 64).copied().unwrap_or(0);
        (word >> (c as u32 % 64)) & 1 == 1
    }
}

/// What is known of each character.
pub(super) struct Characters {
    stable: Set,
    kept: Set,
    small: Set,
}

impl Characters {
    /// The table; made on first use, within some milliseconds.
    pub(super) fn get() -> &'static Self {
        static ALL: OnceLock<Characters> = OnceLock::new();
        ALL.get_or_init(|| {
            let stable = Set::of(stays_in_nfkc);
            let folding = Folding::default();
            let kept =
                Set::of(|c| stable.contains(c) && only(c, |out| folding.push_normal(out, c)));
            let is_dot = |c| c == '\u{307}';
            let small = Set::of(|c| !is_dot(c) && only(c, |out| folding.push_folded(out, c)));
            Self {
                stable,
                kept,
                small,
            }
        })
    }

    /// Whether normalizing leaves it as it is, whatever precedes it: a text may be normalized separately up to it and
    /// from it on. What follows it may still join it.
    pub(super) fn is_stable(&self, c: char) -> bool {
        self.stable.contains(c)
    }

    /// Whether it is stable, and folding by the rules of all languages does not change it either.
    pub(super) fn is_kept(&self, c: char) -> bool {
        self.kept.contains(c)
    }

    /// Whether folding a word leaves it as it is, whatever precedes it. Not the dot above, which a small i loses.
    pub(super) fn is_small(&self, c: char) -> bool {
        self.small.contains(c)
    }
}

fn stays_in_nfkc(c: char) -> bool {
    is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes
        && canonical_combining_class(c) == 0
        && !is_combining_mark(c)
        && !is_ignorable(c)
        && !is_dropped_mark(c)
        && apostrophe(c) == c
}

/// Whether exactly this character is written.
fn only(c: char, write: impl FnOnce(&mut String)) -> bool {
    let mut written = String::new();
    write(&mut written);
    written.chars().eq([c])
}
