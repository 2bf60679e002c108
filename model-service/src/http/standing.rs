//! An item's status: its state, since when, and why.

use chrono::{DateTime, Utc};
use kindred_api::item::Status;

use kindred_domain::store::{FeatureStamp, ItemRow, Liveness};
use kindred_query::Served;

/// What readers of the item's domain can see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The domain is active: use its view. `quiet`: nothing is left to be done in it.
    InView { served: Option<Served>, quiet: bool },
    /// The domain sleeps or is loading: use stored lists.
    Stored,
}

/// A status with its circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    pub(crate) since: DateTime<Utc>,
    pub(crate) reason: Option<String>,
    pub(crate) served_since: Option<DateTime<Utc>>,
}

/// Whether readers may see the item at all.
pub(crate) fn is_visible(row: &ItemRow, now: DateTime<Utc>) -> bool {
    is_live(row, now) && !row.hidden && !is_scheduled(row, now)
}

/// Whether a live item is scheduled for a later time.
fn is_scheduled(row: &ItemRow, now: DateTime<Utc>) -> bool {
    row.publish_at.is_some_and(|at| at > now)
}

fn is_live(row: &ItemRow, now: DateTime<Utc>) -> bool {
    row.liveness == Liveness::Live && row.expires_at.is_none_or(|at| at > now)
}

/// The status of an item, from its row, its feature's stamp, the view of its domain and the time of
/// its stored list.
pub(crate) fn standing(
    row: &ItemRow,
    stamp: Option<&FeatureStamp>,
    seen: Seen,
    listed_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Standing {
    let gone = match row.liveness {
        Liveness::Deleted => Some((Status::Deleted, row.since)),
        Liveness::Expired => Some((Status::Expired, row.since)),
        Liveness::Live if !is_live(row, now) => {
            Some((Status::Expired, row.expires_at.unwrap_or(row.since)))
        }
        Liveness::Live => None,
    };
    if let Some((status, since)) = gone {
        return Standing {
            status,
            since,
            reason: None,
            served_since: None,
        };
    }
    let is_scheduled = is_scheduled(row, now);
    let served_since = if row.hidden || is_scheduled {
        None
    } else {
        match seen {
            Seen::InView { served: None, .. } => None,
            Seen::InView {
                served: Some(served),
                ..
            } if served.since > 0 => DateTime::from_timestamp_millis(served.since),
            Seen::InView { .. } | Seen::Stored => listed_at,
        }
    };
    let featured = stamp.is_some_and(|stamp| stamp.version == row.version);
    let listed = row.hidden
        || match seen {
            // A change of metadata makes no new list: once nothing is left to be done, the list of
            // an older version is valid for this one.
            Seen::InView {
                served: Some(served),
                quiet,
            } => served.version >= row.version || quiet,
            Seen::InView { served: None, .. } => false,
            Seen::Stored => listed_at.is_some(),
        };
    let (status, reason) = match &row.rejected {
        Some(reason) => (Status::Rejected, Some(reason.clone())),
        None if is_scheduled => (Status::Scheduled, None),
        None if !(featured && listed) => (Status::Accepted, None),
        None => {
            let nothing = stamp.is_some_and(|stamp| stamp.zero);
            (Status::Live, nothing.then(|| "no term to compare".into()))
        }
    };
    Standing {
        status,
        since: row.since,
        reason,
        served_since,
    }
}

#[cfg(test)]
mod tests {
    use kindred_shared::Space;

    use super::*;
    use crate::http::fakes::item_row;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).expect("a time")
    }

    fn stamp(version: u64, zero: bool) -> FeatureStamp {
        FeatureStamp {
            version,
            space: Space::stored("words-1/en"),
            zero,
        }
    }

    fn served(version: u64, since: i64) -> Seen {
        Seen::InView {
            served: Some(Served {
                version,
                since,
                as_of: since,
                zero: false,
            }),
            quiet: false,
        }
    }

    const UNSEEN: Seen = Seen::InView {
        served: None,
        quiet: false,
    };

    #[track_caller]
    fn check(
        row: &ItemRow,
        stamp: Option<FeatureStamp>,
        seen: Seen,
        listed_at: Option<i64>,
        status: Status,
        served_since: Option<i64>,
    ) {
        let standing = standing(row, stamp.as_ref(), seen, listed_at.map(at), at(1_000));
        assert_eq!(standing.status, status);
        assert_eq!(standing.served_since, served_since.map(at));
    }

    #[test]
    fn every_way_to_a_status() {
        let row = item_row("a", 5);
        let now = Some(stamp(5, false));
        let old = Some(stamp(4, false));
        check(&row, None, UNSEEN, None, Status::Accepted, None);
        check(&row, now.clone(), UNSEEN, None, Status::Accepted, None);
        check(
            &row,
            old.clone(),
            served(4, 7),
            None,
            Status::Accepted,
            Some(7),
        );
        check(
            &row,
            now.clone(),
            served(4, 7),
            None,
            Status::Accepted,
            Some(7),
        );
        check(&row, now.clone(), served(5, 7), None, Status::Live, Some(7));
        check(
            &row,
            now.clone(),
            served(5, 0),
            Some(3),
            Status::Live,
            Some(3),
        );
        check(
            &row,
            now.clone(),
            Seen::Stored,
            Some(3),
            Status::Live,
            Some(3),
        );
        check(
            &row,
            now.clone(),
            Seen::Stored,
            None,
            Status::Accepted,
            None,
        );
        check(&row, old, Seen::Stored, Some(3), Status::Accepted, Some(3));

        let hidden = ItemRow {
            hidden: true,
            ..row.clone()
        };
        check(&hidden, now.clone(), UNSEEN, None, Status::Live, None);
        check(&hidden, None, UNSEEN, None, Status::Accepted, None);
        let scheduled = ItemRow {
            publish_at: Some(at(1_001)),
            ..row.clone()
        };
        check(&scheduled, None, UNSEEN, None, Status::Scheduled, None);
        check(
            &scheduled,
            now.clone(),
            Seen::Stored,
            Some(3),
            Status::Scheduled,
            None,
        );
        let published = ItemRow {
            publish_at: Some(at(1_000)),
            ..row.clone()
        };
        check(
            &published,
            now.clone(),
            served(5, 7),
            None,
            Status::Live,
            Some(7),
        );
        let over = ItemRow {
            expires_at: Some(at(999)),
            ..row.clone()
        };
        check(&over, now, served(5, 7), Some(3), Status::Expired, None);
        let deleted = ItemRow {
            liveness: Liveness::Deleted,
            ..row.clone()
        };
        check(&deleted, None, UNSEEN, Some(3), Status::Deleted, None);
        let rejected = ItemRow {
            rejected: Some("because".into()),
            ..row
        };
        check(&rejected, None, UNSEEN, None, Status::Rejected, None);
    }

    #[test]
    fn a_change_of_metadata_is_live_once_its_domain_is_quiet() {
        let row = item_row("a", 5);
        let seen = |quiet| Seen::InView {
            served: Some(Served {
                version: 4,
                since: 7,
                as_of: 7,
                zero: false,
            }),
            quiet,
        };
        check(
            &row,
            Some(stamp(5, false)),
            seen(false),
            None,
            Status::Accepted,
            Some(7),
        );
        check(
            &row,
            Some(stamp(5, false)),
            seen(true),
            None,
            Status::Live,
            Some(7),
        );
    }

    #[test]
    fn a_zero_feature_is_live_and_says_why_its_list_is_empty() {
        let row = item_row("a", 5);
        let standing = standing(&row, Some(&stamp(5, true)), served(5, 7), None, at(1_000));
        assert_eq!(standing.status, Status::Live);
        assert_eq!(standing.reason.as_deref(), Some("no term to compare"));
    }

    #[test]
    fn an_item_is_visible_until_it_is_hidden_gone_or_over() {
        let row = item_row("a", 5);
        assert!(is_visible(&row, at(1_000)));
        let over = ItemRow {
            expires_at: Some(at(1_000)),
            ..row.clone()
        };
        assert!(!is_visible(&over, at(1_000)));
        let scheduled = ItemRow {
            publish_at: Some(at(1_000)),
            ..row.clone()
        };
        assert!(!is_visible(&scheduled, at(999)));
        assert!(is_visible(&scheduled, at(1_000)));
        assert!(is_visible(&over, at(999)));
        assert!(!is_visible(
            &ItemRow {
                hidden: true,
                ..row.clone()
            },
            at(0)
        ));
        assert!(!is_visible(
            &ItemRow {
                liveness: Liveness::Expired,
                ..row
            },
            at(0)
        ));
    }
}
