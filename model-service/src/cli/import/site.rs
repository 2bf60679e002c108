//! Turns a site into the events that are sent.

use std::path::Path;

use kindred_shared::DomainName;

use super::input::{Site, reader};
use crate::cli::exit::CommandError;
use crate::sites::{Found, Item, SourcePosition, Stop, Summary, domain_of, host_of, read};

/// An item of a site, or a reason why there is none.
pub(super) enum Made {
    /// An event.
    Event {
        /// The domain.
        domain: DomainName,
        /// The item's id.
        id: String,
        /// One line of JSON.
        line: String,
    },
    /// Something unreadable, with the reason in words.
    Trouble(String),
}

/// Hands a site's items to `take`, in order. A source that cannot be read as a whole is reported to
/// it, too.
///
/// # Errors
/// Those of `take`, and when the domain of the items is unknown.
pub(super) fn events(
    site: &Site,
    mut take: impl FnMut(&SourcePosition, Made) -> Result<(), CommandError>,
) -> Result<Summary, CommandError> {
    let mut domain = site.domain.clone();
    let mut failure = None;
    let done = read(&site.path, site.form, reader, &site.wishes, &mut |found| {
        let (place, made) = match found {
            Found::Trouble(place, why) => (place, Made::Trouble(why)),
            Found::Item(place, item) => {
                let made = event(&item, &mut domain, &site.path);
                match made {
                    Ok(made) => (place, made),
                    Err(error) => {
                        failure = Some(error);
                        return Err(Stop::Asked);
                    }
                }
            }
        };
        take(&place, made).map_err(|error| {
            failure = Some(error);
            Stop::Asked
        })
    });
    match (failure, done) {
        (Some(failure), _) => Err(failure),
        (None, Ok(summary)) => Ok(summary),
        (None, Err(Stop::Asked)) => Ok(Summary::default()),
        (None, Err(Stop::Unreadable(why))) => {
            let place = SourcePosition {
                file: site.path.clone(),
                line: 1,
            };
            take(&place, Made::Trouble(why))?;
            Ok(Summary::default())
        }
    }
}

fn event(item: &Item, domain: &mut Option<DomainName>, path: &Path) -> Result<Made, CommandError> {
    let of_item = match &item.domain {
        Some(name) => match DomainName::new(name) {
            Ok(domain) => Some(domain),
            Err(error) => return Ok(Made::Trouble(error.to_string())),
        },
        None => None,
    };
    let named = match (of_item, &*domain) {
        (Some(named), _) => named,
        (None, Some(domain)) => domain.clone(),
        (None, None) => {
            let host = item.url.as_deref().and_then(host_of).and_then(domain_of);
            let host = host.ok_or_else(|| {
                CommandError::usage(format!(
                    "{}: the site's address is unknown; give the domain of its items, such as \
                     --domain blog.example, or the address, such as --url-base \
                     https://blog.example",
                    path.display()
                ))
            })?;
            domain.insert(host).clone()
        }
    };
    Ok(Made::Event {
        line: item.event(named.as_str()),
        domain: named,
        id: item.id.clone(),
    })
}

/// A file's path for people: relative to the current directory if it is below it.
pub(super) fn shown(file: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| file.strip_prefix(here).map(Path::to_owned).ok());
    let below = below.filter(|below| below.components().next().is_some());
    below.as_deref().unwrap_or(file).display().to_string()
}
