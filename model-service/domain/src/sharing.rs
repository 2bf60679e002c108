//! Which partitions an instance may take and which it hands over, so that every instance has the same number of them,
//! or one more. Pure.
//!
//! Every instance decides for itself, from the same two lists: the running instances and the owners of partitions. Free
//! partitions are taken first; only when none is free does an instance with too many hand one over, one at a time.
//! Outdated lists make a decision late or unnecessary, but never unsafe: taking a partition still requires its lease.

use std::collections::BTreeSet;

use crate::lease::Wish;
use crate::store::Partition;

/// What an instance should do about its share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// Partitions that it may take if their owners are gone.
    pub may_take: BTreeSet<Partition>,
    /// One of its partitions that another instance should have.
    pub hand_over: Option<Partition>,
}

impl Share {
    /// What the instance `me` should want of a partition with this owner, as far as the owner is known.
    pub fn wish(&self, me: &str, partition: Partition, owner: Option<&str>) -> Wish {
        if self.hand_over == Some(partition) {
            Wish::Leave
        } else if owner == Some(me) || self.may_take.contains(&partition) {
            Wish::Have
        } else {
            Wish::Wait
        }
    }
}

/// The share of the instance `me`. `instances` are the running ones, in any order; `owners` has the owner of each
/// partition, as far as it is known.
pub fn share(me: &str, instances: &[String], owners: &[Option<String>]) -> Share {
    let instances: BTreeSet<&str> = instances.iter().map(String::as_str).chain([me]).collect();
    let held = |instance: &str| {
        let theirs = owners.iter().flatten().filter(|owner| *owner == instance);
        theirs.count()
    };
    let most = owners.len().div_ceil(instances.len());
    let least = owners.len() / instances.len();
    let numbered = || (0..).map(Partition).zip(owners);
    let is_free = |owner: &Option<String>| match owner {
        Some(owner) => !instances.contains(owner.as_str()),
        None => true,
    };

    // Instances with too few come first.
    let missing = |one: &str| least.saturating_sub(held(one));
    let others_miss: usize = instances
        .iter()
        .filter(|one| **one != me)
        .map(|one| missing(one))
        .sum();
    // Instances that start together begin with different partitions.
    let rank = instances.iter().take_while(|one| **one < me).count();
    let mut free: Vec<Partition> = numbered()
        .filter(|(_, owner)| is_free(owner))
        .map(|(partition, _)| partition)
        .collect();
    let room = most
        .saturating_sub(held(me))
        .min(missing(me).max(free.len().saturating_sub(others_miss)));
    let someone_misses = instances.iter().any(|one| missing(one) > 0);
    let above = |one: &str| held(one) > most || (someone_misses && held(one) > least);
    let first_above = instances.iter().find(|one| above(one));
    let hand_over = (free.is_empty() && first_above == Some(&me))
        .then(|| {
            let own = numbered().filter(|(_, owner)| owner.as_deref() == Some(me));
            own.map(|(partition, _)| partition).last()
        })
        .flatten();
    free.sort_by_key(|partition| usize::from(partition.0) % instances.len() != rank);
    Share {
        may_take: free.into_iter().take(room).collect(),
        hand_over,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// `-`: no owner.
    fn owners(names: &[&str]) -> Vec<Option<String>> {
        let owner = |name: &&str| (*name != "-").then(|| (*name).to_owned());
        names.iter().map(owner).collect()
    }

    #[track_caller]
    fn check(
        me: &str,
        instances: &[&str],
        owned: &[&str],
        may_take: &[u16],
        hand_over: Option<u16>,
    ) {
        let expected = Share {
            may_take: may_take.iter().copied().map(Partition).collect(),
            hand_over: hand_over.map(Partition),
        };
        assert_eq!(share(me, &names(instances), &owners(owned)), expected);
    }

    #[test]
    fn one_alone_takes_all() {
        check("a", &["a"], &["-", "-", "-"], &[0, 1, 2], None);
        check("a", &[], &["-", "a", "gone"], &[0, 2], None);
    }

    #[test]
    fn two_that_start_together_begin_with_different_ones() {
        check("a", &["b", "a"], &["-", "-", "-", "-"], &[0, 2], None);
        check("b", &["b", "a"], &["-", "-", "-", "-"], &[1, 3], None);
    }

    #[test]
    fn who_has_too_many_hands_one_over_when_nothing_is_free() {
        check("a", &["a", "b"], &["a", "a", "a", "a"], &[], Some(3));
        check("b", &["a", "b"], &["a", "a", "a", "a"], &[], None);
        check("a", &["a", "b"], &["a", "a", "a", "-"], &[], None);
        check("b", &["a", "b"], &["a", "a", "a", "-"], &[3], None);
        check("a", &["a", "b"], &["a", "a", "b", "b"], &[], None);
    }

    #[test]
    fn a_third_gets_one_of_four_from_one_of_two() {
        let four = ["a", "b", "a", "b"];
        check("a", &["a", "b", "c"], &four, &[], Some(2));
        check("b", &["a", "b", "c"], &four, &[], None);
        check("c", &["a", "b", "c"], &four, &[], None);
        // What was handed over is not taken back.
        let handed = ["a", "b", "-", "b"];
        check("a", &["a", "b", "c"], &handed, &[], None);
        check("c", &["a", "b", "c"], &handed, &[2], None);
    }

    #[test]
    fn one_partition_is_anybodys_and_stays_where_it_is() {
        for me in ["a", "b"] {
            check(me, &["a", "b"], &["-"], &[0], None);
            check(me, &["a", "b"], &["gone"], &[0], None);
        }
        check("a", &["a", "b"], &["a"], &[], None);
        check("b", &["a", "b"], &["a"], &[], None);
    }

    proptest! {
        /// From any state, whichever instance acts first: after a few steps all have their share, and nothing moves any
        /// more.
        #[test]
        fn all_come_to_rest_with_even_shares(
            count in 1_usize..6,
            owned in proptest::collection::vec(0_usize..9, 1..24),
            turns in proptest::collection::vec(0_usize..6, 600),
        ) {
            let instances: Vec<String> = (0..count).map(|n| format!("i{n}")).collect();
            // Some partitions belong to instances that are gone, some to nobody.
            let mut owners: Vec<Option<String>> =
                owned.iter().map(|n| (*n < 8).then(|| format!("i{n}"))).collect();
            for turn in turns {
                let me = &instances[turn % count];
                let share = share(me, &instances, &owners);
                for partition in share.may_take {
                    owners[usize::from(partition.0)] = Some(me.clone());
                }
                if let Some(partition) = share.hand_over {
                    owners[usize::from(partition.0)] = None;
                }
            }
            for me in &instances {
                let held = owners.iter().flatten().filter(|owner| *owner == me).count();
                prop_assert!(held == owners.len() / count || held == owners.len().div_ceil(count));
                prop_assert_eq!(share(me, &instances, &owners), Share::default());
            }
        }
    }
}
