//! Filling up answers that are too short.

use std::collections::HashSet;

use kindred_domain::slot::Slot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::admission::Admission;
use crate::conditions::Fallback;
use crate::snapshot::Item;

/// At most `count` items that may be answered and are not in the answer yet: the newest, or any; ties by id.
pub(crate) fn fill(
    admission: &Admission<'_>,
    fallback: Fallback,
    there: &HashSet<Slot>,
    count: usize,
) -> Vec<Slot> {
    let items = admission.items();
    let items = items.filter(|item| !there.contains(&item.slot()));
    match fallback {
        Fallback::Newest => first(items, count, |item| {
            std::cmp::Reverse(item.shown_since().unwrap_or(i64::MIN))
        }),
        Fallback::Random { seed } => first(items, count, |item| {
            xxh3_64_with_seed(item.id().as_str().as_bytes(), seed)
        }),
    }
}

/// The first `count` items, ordered by a key, then by id.
fn first<'a, K: Ord>(
    items: impl Iterator<Item = Item<'a>>,
    count: usize,
    key: impl Fn(&Item<'a>) -> K,
) -> Vec<Slot> {
    let mut all: Vec<(K, Item<'a>)> = items.map(|item| (key(&item), item)).collect();
    let order =
        |a: &(K, Item<'a>), b: &(K, Item<'a>)| a.0.cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all.iter().map(|(_, item)| item.slot()).collect()
}
