//! Debian's packages, from apt's lists: real texts of many subjects, a section a domain.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the lists lie; `tests/run` sets it.
const LISTS_VARIABLE: &str = "KINDRED_TEST_APT_LISTS";
const SYSTEM_LISTS: &str = "/var/lib/apt/lists";
/// Reads lists however they are compressed.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";
/// Kept for measuring quality on texts that nothing was tuned on.
const HELD_OUT: [&str; 3] = ["graphics", "science", "net"];
/// Sections used: the largest.
const SECTIONS: usize = 20;

/// A binary package.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// `python.debian` for section `python`.
    pub(crate) domain: String,
    pub(crate) name: String,
    /// The short description.
    pub(crate) title: String,
    /// The long description; empty where the lists lack it.
    pub(crate) text: String,
}

/// Every package of the [`SECTIONS`] largest sections that are not held out, by name.
///
/// # Panics
/// When this machine has no package lists; `tests/run` fetches them.
pub(crate) fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(read)
}

fn read() -> Vec<Package> {
    let lists = std::env::var_os(LISTS_VARIABLE).map_or(SYSTEM_LISTS.into(), PathBuf::from);
    let long = long_descriptions(&lists);
    let mut sections: BTreeMap<String, BTreeMap<String, Package>> = BTreeMap::new();
    for text in files(&lists, "_Packages") {
        for paragraph in text.split("\n\n") {
            let fields = fields(paragraph);
            let (Some(&name), Some(&section), Some(&description)) = (
                fields.get("Package"),
                fields.get("Section"),
                fields.get("Description"),
            ) else {
                continue;
            };
            // Other archive areas prefix theirs: `contrib/games`.
            let section = section.rsplit('/').next().unwrap_or(section);
            if HELD_OUT.contains(&section) {
                continue;
            }
            let (title, own) = description.split_once('\n').unwrap_or((description, ""));
            let text = fields
                .get("Description-md5")
                .and_then(|&hash| long.get(hash).cloned())
                .unwrap_or_else(|| unfolded(own));
            sections
                .entry(section.to_owned())
                .or_default()
                .entry(name.to_owned())
                .or_insert_with(|| Package {
                    domain: format!("{section}.debian"),
                    name: name.to_owned(),
                    title: title.trim().to_owned(),
                    text,
                });
        }
    }
    let mut sections: Vec<BTreeMap<String, Package>> = sections.into_values().collect();
    sections.sort_by_key(|packages| std::cmp::Reverse(packages.len()));
    sections.truncate(SECTIONS);
    let packages: Vec<Package> = sections
        .into_iter()
        .flat_map(BTreeMap::into_values)
        .collect();
    assert!(
        !packages.is_empty(),
        "no package lists in {}; `tests/run` fetches them (apt-get update)",
        lists.display()
    );
    packages
}

/// Long descriptions by the hash their packages name.
fn long_descriptions(lists: &Path) -> HashMap<String, String> {
    let mut long = HashMap::new();
    for text in files(lists, "_Translation-en") {
        for paragraph in text.split("\n\n") {
            let fields = fields(paragraph);
            if let (Some(hash), Some(description)) =
                (fields.get("Description-md5"), fields.get("Description-en"))
                && let Some((_, folded)) = description.split_once('\n')
            {
                long.insert((*hash).to_owned(), unfolded(folded));
            }
        }
    }
    long
}

/// The texts of all lists whose names, without compression, end so; by name.
fn files(lists: &Path, ending: &str) -> Vec<String> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(lists)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = [".lz4", ".xz", ".gz", ".bz2", ".zst"]
            .iter()
            .find_map(|compression| name.strip_suffix(compression))
            .unwrap_or(&name);
        name.ends_with(ending)
    });
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let read = Command::new(APT_HELPER)
                .arg("cat-file")
                .arg(path)
                .output()
                .expect("apt's helper is there where its lists are");
            assert!(read.status.success(), "{} cannot be read", path.display());
            String::from_utf8_lossy(&read.stdout).into_owned()
        })
        .collect()
}

/// The fields of a paragraph; a folded value keeps its line ends.
fn fields(paragraph: &str) -> HashMap<&str, &str> {
    let mut fields = HashMap::new();
    let mut rest = paragraph.trim_start_matches('\n');
    while !rest.is_empty() {
        let mut end = rest.len();
        for (at, _) in rest.match_indices('\n') {
            if !rest[at + 1..].starts_with(' ') {
                end = at;
                break;
            }
        }
        if let Some((key, value)) = rest[..end].split_once(':') {
            fields.insert(key, value.trim());
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    fields
}

/// A folded value as running text: lines joined, paragraphs apart.
fn unfolded(folded: &str) -> String {
    folded
        .lines()
        .map(|line| match line.trim() {
            "." => "\n\n",
            words => words,
        })
        .collect::<Vec<_>>()
        .join(" ")
}
