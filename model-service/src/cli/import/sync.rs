//! `--sync`: deletes what the source no longer has.

use std::collections::BTreeSet;

use kindred_api::item::ItemsAnswer;
use kindred_api::path;
use kindred_shared::DomainName;

use super::batch::LineOrigin;
use super::known::Known;
use super::{Options, Pushed, load_with};
use crate::cli::client::Client;
use crate::cli::exit::{CommandError, Exit};

/// Items listed per request.
const PAGE: &str = "1000";

/// Items that the domain has and the source lacks.
struct Gone {
    domain: DomainName,
    ids: BTreeSet<String>,
    /// Number of items in the domain.
    of: usize,
}

impl Gone {
    /// Whether they are more than a tenth.
    fn are_many(&self) -> bool {
        self.ids.len() * 10 > self.of
    }
}

/// Deletes the items that the source does not have, after printing their number; returns how many
/// there were. More than a tenth of a domain is deleted only if `yes` is set.
///
/// # Errors
/// When it would be more than a tenth, and then nothing is deleted; or when the service cannot be
/// asked.
pub(super) fn delete(
    client: &Client,
    known: &Known,
    yes: bool,
    options: &Options,
    say: impl Fn(&str),
) -> Result<u64, CommandError> {
    let gone = gone(client, known)?;
    for one in &gone {
        if one.are_many() && !yes {
            return Err(CommandError::failed(format!(
                "{}: {} of its {} items are not in the source, which is more than a tenth; \
                 nothing was deleted. If that is right, pass --yes",
                one.domain,
                one.ids.len(),
                one.of
            )));
        }
    }
    let mut deleted = 0;
    for one in gone {
        say(&format!(
            "{}: deleting {} of {} items that the source no longer has",
            one.domain,
            one.ids.len(),
            one.of
        ));
        let (summary, _) = load_with(
            client,
            Vec::new(),
            options,
            |pushed: &mut Pushed<'_, '_>| {
                for id in &one.ids {
                    let event = serde_json::json!({"type": "item.deleted", "domain": one.domain.as_str(), "id": id});
                    let place = LineOrigin {
                        file: 0,
                        line: 1,
                        original: None,
                    };
                    pushed.line(&one.domain, event.to_string().as_bytes(), place)?;
                }
                Ok(None)
            },
        )?;
        deleted += summary.accepted;
    }
    Ok(deleted)
}

/// How many would be deleted, in words.
pub(super) fn would_delete(client: &Client, known: &Known) -> Result<Vec<String>, CommandError> {
    let gone = gone(client, known)?;
    Ok(gone
        .iter()
        .map(|one| {
            format!(
                "{}: {} of {} items would be deleted{}",
                one.domain,
                one.ids.len(),
                one.of,
                if one.are_many() {
                    ", but only with --yes"
                } else {
                    ""
                }
            )
        })
        .collect())
}

fn gone(client: &Client, known: &Known) -> Result<Vec<Gone>, CommandError> {
    let mut all = Vec::new();
    for (domain, items) in known.domains() {
        let mut gone = Gone {
            domain: domain.clone(),
            ids: BTreeSet::new(),
            of: 0,
        };
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let asked = path::with_query(&path::items(domain.as_str()), &query);
            let answer = match client.get_good(&asked) {
                Err(failure) if failure.exit == Exit::NotFound => break,
                answer => answer?,
            };
            let page: ItemsAnswer = client.read(&answer)?;
            gone.of += page.items.len();
            let ids = page.items.iter().map(|item| item.id.as_str());
            gone.ids
                .extend(ids.filter(|id| !items.contains_key(*id)).map(str::to_owned));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if !gone.ids.is_empty() {
            all.push(gone);
        }
    }
    Ok(all)
}
