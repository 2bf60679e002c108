//! Detects the generator of a site and reads its settings: where pages are stored, and their URLs.
//!
//! Settings that are data (TOML, YAML, JSON) are parsed. Those that are programs
//! (`docusaurus.config.js`) are not run: literals such as `url: 'https://docs.example'` are found
//! by searching the text.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::address::Base;
use super::matter::{self, Language, Matter};
use super::{SourcePosition, fields};

/// Largest settings file, in bytes.
const MAX_SETTINGS_BYTES: u64 = 4 << 20;
/// How many levels up the site is searched for, from a folder inside it.
const MAX_UP: usize = 6;

/// A site generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generator {
    Hugo,
    Jekyll,
    Astro,
    Docusaurus,
    Eleventy,
    /// None that is known: file paths are page paths.
    Plain,
}

impl Generator {
    /// Its name for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hugo => "a site of Hugo",
            Self::Jekyll => "a site of Jekyll",
            Self::Astro => "a site of Astro",
            Self::Docusaurus => "a site of Docusaurus",
            Self::Eleventy => "a site of Eleventy",
            Self::Plain => "a folder",
        }
    }

    /// The generator whose settings are in a folder.
    fn of(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).exists();
        let any = |stem: &str, endings: &[&str]| {
            endings
                .iter()
                .any(|ending| has(&format!("{stem}.{ending}")))
        };
        let scripts = ["js", "ts", "mjs", "cjs", "mts"];
        let data = ["toml", "yaml", "yml", "json"];
        if any("docusaurus.config", &scripts) {
            Some(Self::Docusaurus)
        } else if any("astro.config", &scripts) {
            Some(Self::Astro)
        } else if has(".eleventy.js") || any("eleventy.config", &scripts) {
            Some(Self::Eleventy)
        } else if any("hugo", &data)
            || has("config/_default")
            || (any("config", &data) && (has("content") || has("archetypes")))
        {
            Some(Self::Hugo)
        } else if any("_config", &["yml", "yaml", "toml"]) || has("_posts") {
            Some(Self::Jekyll)
        } else {
            None
        }
    }
}

/// How file paths become page paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Hugo,
    Jekyll,
    /// Docusaurus documents.
    Docs,
    /// A Docusaurus blog.
    Blog,
    /// An Astro collection.
    Collection,
    /// As the files are arranged.
    Routes,
    /// Of another version than the one readers see by default.
    OtherVersion,
}

/// A folder of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) dir: PathBuf,
    /// Its path on the site, with a slash at both ends.
    pub(super) prefix: String,
    pub(super) shape: Shape,
    /// The language of its content, if it has only one.
    pub(super) language: Option<String>,
    /// Whether its folders are named after languages.
    pub(super) holds_languages: OnceCell<bool>,
}

impl Root {
    pub(super) fn new(dir: PathBuf, prefix: &str, shape: Shape) -> Self {
        let prefix = prefix.trim_matches('/');
        Self {
            dir: clean(&dir),
            prefix: if prefix.is_empty() {
                "/".to_owned()
            } else {
                format!("/{prefix}/")
            },
            shape,
            language: None,
            holds_languages: OnceCell::new(),
        }
    }
}

/// What is known about a site before its pages are read.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) generator: Generator,
    /// The folder of its settings.
    pub(super) folder: PathBuf,
    pub(super) base: Base,
    pub(super) roots: Vec<Root>,
    pub(super) settings: Matter,
    /// Languages named in the settings, with their paths.
    pub(super) languages: BTreeMap<String, String>,
    /// Whether items with a future date are already published.
    pub(super) shows_future: bool,
    /// Settings that cannot be read.
    pub(super) troubles: Vec<(SourcePosition, String)>,
}

impl Site {
    /// The site that a folder is, belongs to, or contains.
    pub(super) fn of(folder: &Path) -> Self {
        if let Some(generator) = Generator::of(folder) {
            return Self::read(generator, folder);
        }
        let mut above = folder;
        for _ in 0..MAX_UP {
            // What is next to a repository belongs to something else.
            if above.join(".git").exists() {
                break;
            }
            let Some(parent) = above.parent() else { break };
            above = parent;
            let Some(generator) = Generator::of(above) else {
                continue;
            };
            let site = Self::read(generator, above);
            if site.roots.iter().any(|root| folder.starts_with(&root.dir)) {
                return site;
            }
        }
        let below = folders(folder);
        let mut sites = below
            .iter()
            .filter_map(|below| Some((Generator::of(below)?, below)));
        match (sites.next(), sites.next()) {
            (Some((generator, only)), None) => Self::read(generator, only),
            _ => Self::read(Generator::Plain, folder),
        }
    }

    fn read(generator: Generator, folder: &Path) -> Self {
        let mut site = Self {
            generator,
            folder: folder.to_owned(),
            base: Base::default(),
            roots: Vec::new(),
            settings: Matter::new(),
            languages: BTreeMap::new(),
            shows_future: false,
            troubles: Vec::new(),
        };
        match generator {
            Generator::Hugo => site.read_hugo(),
            Generator::Jekyll => site.read_jekyll(),
            Generator::Astro => site.read_astro(),
            Generator::Docusaurus => site.read_docusaurus(),
            Generator::Eleventy => site.read_eleventy(),
            Generator::Plain => site.add(Root::new(folder.to_owned(), "/", Shape::Routes)),
        }
        site
    }

    /// A folder of pages without a generator.
    pub(super) fn plain(folder: &Path, base: Base) -> Self {
        Self {
            base,
            ..Self::read(Generator::Plain, folder)
        }
    }

    fn add(&mut self, root: Root) {
        if root.dir.is_dir() && self.roots.iter().all(|known| known.dir != root.dir) {
            self.roots.push(root);
        }
    }

    /// A settings file as data; empty if it does not exist.
    fn data(&mut self, path: &Path) -> Matter {
        let language = match path.extension().and_then(|ending| ending.to_str()) {
            Some("toml") => Language::Toml,
            Some("json") => Language::Json,
            _ => Language::Yaml,
        };
        let Some(text) = small(path) else {
            return Matter::new();
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = match language {
            Language::Yaml => text.trim_end().trim_end_matches("\n---"),
            _ => text,
        };
        matter::parse(text, language).unwrap_or_else(|fault| {
            let place = SourcePosition {
                file: path.to_owned(),
                line: fault.line,
            };
            let detail = fault.detail.replace("front matter is", "the settings are");
            self.troubles.push((place, detail));
            Matter::new()
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.as_str()
    }

    fn set_base(&mut self, url: &str) {
        if let Ok(base) = Base::parse(url) {
            self.base = base;
        }
    }

    fn read_hugo(&mut self) {
        let endings = ["toml", "yaml", "yml", "json"];
        let mut settings = Matter::new();
        for stem in ["config", "hugo"] {
            for ending in endings {
                let path = self.folder.join(format!("{stem}.{ending}"));
                settings.extend(lowered(self.data(&path)));
            }
        }
        let defaults = self.folder.join("config/_default");
        for path in files(&defaults) {
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let Some(name) = name.map(str::to_lowercase) else {
                continue;
            };
            let said = lowered(self.data(&path));
            match name.split_once('.') {
                None if matches!(name.as_str(), "hugo" | "config") => settings.extend(said),
                None => {
                    settings.insert(name, Value::Object(said));
                }
                Some((first @ "languages", language)) => {
                    let all = settings
                        .entry(first)
                        .or_insert(Value::Object(Matter::new()));
                    if let Value::Object(all) = all {
                        all.insert(language.to_owned(), Value::Object(said));
                    }
                }
                Some(_) => {}
            }
        }
        self.settings = settings;
        if let Some(url) = self.text("baseurl").map(str::to_owned) {
            match Base::parse(&url) {
                Ok(base) => self.base = base,
                Err(_) if url.starts_with('/') => self.base = Base::default().below(&url),
                Err(_) => {}
            }
        }
        self.shows_future = self.settings.get("buildfuture") == Some(&Value::Bool(true));
        let content = self.text("contentdir").unwrap_or("content").to_owned();
        let first = self
            .text("defaultcontentlanguage")
            .unwrap_or("en")
            .to_lowercase();
        let first_below =
            self.settings.get("defaultcontentlanguageinsubdir") == Some(&Value::Bool(true));
        let languages = match self.settings.get("languages") {
            Some(Value::Object(languages)) => languages.clone(),
            _ => Matter::new(),
        };
        for (language, said) in &languages {
            if said.get("disabled") == Some(&Value::Bool(true)) {
                continue;
            }
            let prefix = if *language == first && !first_below {
                "/".to_owned()
            } else {
                format!("/{language}/")
            };
            self.languages.insert(language.clone(), prefix.clone());
            if let Some(dir) = said.get("contentdir").and_then(Value::as_str) {
                let mut root = Root::new(self.folder.join(dir), &prefix, Shape::Hugo);
                root.language = Some(language.clone());
                self.add(root);
            }
        }
        // Languages without a folder of their own share one.
        let shares = languages.is_empty()
            || languages
                .values()
                .any(|said| said.get("contentdir").is_none());
        if shares || self.roots.is_empty() {
            let mut root = Root::new(self.folder.join(content), "/", Shape::Hugo);
            if let Some(prefix) = self.languages.get(&first) {
                root.prefix.clone_from(prefix);
                root.language = Some(first);
            }
            self.add(root);
        }
    }

    fn read_jekyll(&mut self) {
        for name in ["_config.toml", "_config.yaml", "_config.yml"] {
            let path = self.folder.join(name);
            let said = self.data(&path);
            self.settings.extend(said);
        }
        if let Some(url) = self.text("url").map(str::to_owned) {
            self.set_base(&url);
        }
        if let Some(below) = self.text("baseurl").map(str::to_owned) {
            self.base = self.base.clone().below(&below);
        }
        self.shows_future = self.settings.get("future") == Some(&Value::Bool(true));
        let source = self.text("source").unwrap_or(".").to_owned();
        let mut root = Root::new(self.folder.join(source), "/", Shape::Jekyll);
        root.language = ["lang", "locale", "language"]
            .iter()
            .find_map(|key| self.text(key))
            .map(str::to_owned);
        self.add(root);
    }

    fn read_astro(&mut self) {
        let config = self.script("astro.config");
        if let Some(url) = literals(&config, "site").find(|url| url.contains("://")) {
            self.set_base(&url);
        }
        if let Some(below) = literals(&config, "base").find(|base| base.starts_with('/')) {
            self.base = self.base.clone().below(&below);
        }
        let mut collections = self.script("src/content.config");
        collections.push_str(&self.script("src/content/config"));
        for dir in literals(&collections, "base") {
            let name = dir.trim_matches(['.', '/']).rsplit('/').next();
            let name = name.unwrap_or_default().to_owned();
            let root = Root::new(
                self.folder.join(dir.trim_start_matches('/')),
                &name,
                Shape::Collection,
            );
            self.add(root);
        }
        for dir in folders(&self.folder.join("src/content")) {
            let name = dir.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default().to_owned();
            // Starlight's documents are the site.
            let prefix = match name.as_str() {
                "docs" if config.contains("starlight") => "/",
                name => name,
            };
            let is_in_another = self.roots.iter().any(|root| root.dir.starts_with(&dir));
            let root = Root::new(dir, prefix, Shape::Collection);
            if !is_in_another {
                self.add(root);
            }
        }
        self.add(Root::new(self.folder.join("src/pages"), "/", Shape::Routes));
    }

    fn read_docusaurus(&mut self) {
        let config = self.script("docusaurus.config");
        if let Some(url) = literals(&config, "url").find(|url| url.contains("://")) {
            self.set_base(&url);
        }
        if let Some(below) = literals(&config, "baseUrl").find(|below| below.starts_with('/')) {
            self.base = self.base.clone().below(&below);
        }
        let versions = small(&self.folder.join("versions.json"));
        let versions: Vec<String> = versions
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let shows_current = literals(&config, "lastVersion").any(|version| version == "current");
        let latest = versions.first().filter(|_| !shows_current);
        let mut instances = instances(&config);
        for name in ["docs", "blog"] {
            let is_there = |one: &Instance| one.dir.trim_end_matches('/').ends_with(name);
            if !instances.iter().any(is_there) {
                instances.push(Instance::of(name));
            }
        }
        for instance in &instances {
            let dir = self.folder.join(&instance.dir);
            let shape = if instance.is_blog {
                Shape::Blog
            } else {
                Shape::Docs
            };
            let is_main = !instance.is_blog && instance.route.trim_matches('/') == "docs";
            match latest.filter(|_| is_main) {
                Some(latest) => {
                    let version = format!("versioned_docs/version-{latest}");
                    self.add(Root::new(
                        self.folder.join(version),
                        &instance.route,
                        Shape::Docs,
                    ));
                    self.add(Root::new(dir, &instance.route, Shape::OtherVersion));
                }
                None => self.add(Root::new(dir, &instance.route, shape)),
            }
        }
        for dir in folders(&self.folder.join("versioned_docs")) {
            self.add(Root::new(dir, "docs", Shape::OtherVersion));
        }
        let version = latest.map_or("current".to_owned(), |latest| format!("version-{latest}"));
        for dir in folders(&self.folder.join("i18n")) {
            let Some(locale) = dir.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let docs = dir.join("docusaurus-plugin-content-docs").join(&version);
            let blog = dir.join("docusaurus-plugin-content-blog");
            for (dir, name, shape) in [(docs, "docs", Shape::Docs), (blog, "blog", Shape::Blog)] {
                let mut root = Root::new(dir, &format!("{locale}/{name}"), shape);
                root.language = Some(locale.to_owned());
                self.add(root);
            }
        }
        self.add(Root::new(self.folder.join("src/pages"), "/", Shape::Routes));
    }

    fn read_eleventy(&mut self) {
        let mut config = self.script("eleventy.config");
        config.push_str(&small(&self.folder.join(".eleventy.js")).unwrap_or_default());
        let called = config.split("setInputDirectory(").nth(1);
        let called = called.and_then(quoted);
        let input = called.or_else(|| literals(&config, "input").next());
        let input = input.unwrap_or_else(|| ".".to_owned());
        self.add(Root::new(self.folder.join(input), "/", Shape::Routes));
    }

    /// The text of settings that are a program.
    fn script(&self, stem: &str) -> String {
        ["js", "mjs", "cjs", "ts", "mts"]
            .iter()
            .find_map(|ending| small(&self.folder.join(format!("{stem}.{ending}"))))
            .map(|text| without_comments(&text))
            .unwrap_or_default()
    }

    /// Jekyll's default front matter for files below a path, of a kind (`posts`, `pages`, a
    /// collection).
    pub(super) fn defaults(&self, path: &Path, kind: &str) -> Matter {
        let mut said = Matter::new();
        let Some(Value::Array(all)) = self.settings.get("defaults") else {
            return said;
        };
        for one in all {
            let scope = one.get("scope");
            let of = |key: &str| scope.and_then(|scope| scope.get(key)?.as_str());
            let is_below = of("path").is_none_or(|below| {
                let below = below.trim_matches('/');
                below.is_empty() || path.starts_with(below)
            });
            if is_below
                && of("type").is_none_or(|of| of == kind)
                && let Some(Value::Object(values)) = one.get("values")
            {
                said.extend(values.clone());
            }
        }
        said
    }

    /// Whether Jekyll's settings exclude a file.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        let listed = |key: &str| match self.settings.get(key) {
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(Value::as_str)
                .any(|one| path.starts_with(one.trim_matches('/'))),
            _ => false,
        };
        listed("exclude") && !listed("include")
    }

    /// Labels in one string are separated by spaces.
    pub(super) fn said(&self, matter: &Matter) -> fields::Said {
        fields::said(matter, self.generator == Generator::Jekyll)
    }
}

/// A folder of pages named in the settings of Docusaurus.
#[derive(Debug, PartialEq, Eq)]
struct Instance {
    dir: String,
    route: String,
    is_blog: bool,
}

impl Instance {
    fn of(name: &str) -> Self {
        Self {
            dir: name.to_owned(),
            route: name.to_owned(),
            is_blog: name == "blog",
        }
    }
}

/// The folders named in the settings of Docusaurus, in order.
fn instances(config: &str) -> Vec<Instance> {
    #[derive(Default)]
    struct Begun {
        dir: Option<String>,
        route: Option<String>,
        is_blog: bool,
        has_section: bool,
    }
    impl Begun {
        fn end(self, found: &mut Vec<Instance>) {
            let section = if self.is_blog { "blog" } else { "docs" };
            let is_said = self.dir.is_some() || (self.has_section && self.route.is_some());
            if is_said {
                found.push(Instance {
                    dir: self.dir.unwrap_or_else(|| section.to_owned()),
                    route: self.route.unwrap_or_else(|| section.to_owned()),
                    is_blog: self.is_blog,
                });
            }
        }
    }
    let mut marks: Vec<(usize, &str, String)> = Vec::new();
    for (mark, section) in [
        ("docs: {", "docs"),
        ("blog: {", "blog"),
        ("plugin-content-docs", "docs"),
        ("plugin-content-blog", "blog"),
    ] {
        let found = config.match_indices(mark);
        marks.extend(found.map(|(at, _)| (at, "section", section.to_owned())));
    }
    for key in ["path", "routeBasePath"] {
        let found = places(config, key);
        marks.extend(found.filter_map(|at| Some((at, key, quoted(&config[at..])?))));
    }
    marks.sort_unstable();
    let mut found = Vec::new();
    let mut begun = Begun::default();
    for (_, key, value) in marks {
        match key {
            "section" => {
                std::mem::take(&mut begun).end(&mut found);
                begun.is_blog = value == "blog";
                begun.has_section = true;
            }
            "path" => {
                if begun.dir.is_some() {
                    std::mem::take(&mut begun).end(&mut found);
                }
                begun.is_blog |= value.contains("blog");
                begun.dir = Some(value);
            }
            _ => begun.route = Some(value),
        }
    }
    begun.end(&mut found);
    found
}

/// The positions right after `key:`, where key is a whole word.
fn places<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(key).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let is_word = before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '$'));
        let rest = text[at + key.len()..].trim_start_matches(['\'', '"']);
        let rest = rest.trim_start();
        (is_word && rest.starts_with(':')).then(|| text.len() - rest.len() + 1)
    })
}

/// The string literals that follow `key:`.
fn literals<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    places(text, key).filter_map(|at| quoted(&text[at..]))
}

/// The quoted string that starts here.
fn quoted(text: &str) -> Option<String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inside = &text[1..];
    Some(inside[..inside.find(quote)?].to_owned())
}

/// JavaScript without comment lines.
fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("* ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn lowered(matter: Matter) -> Matter {
    matter
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Object(inside) => Value::Object(lowered(inside)),
                other => other,
            };
            (name.to_lowercase(), value)
        })
        .collect()
}

/// The text of a file, unless it is large.
pub(super) fn small(path: &Path) -> Option<String> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    if size > MAX_SETTINGS_BYTES {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// The visible folders directly in a folder, in order.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(folder)
        .filter(|path| path.is_dir() && !is_hidden(path))
        .collect();
    found.sort_unstable();
    found
}

/// The files directly in a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(folder).filter(|path| path.is_file()).collect();
    found.sort_unstable();
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Whether nothing with such a name is a page: it is hidden, or belongs to other programs.
pub(super) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_none_or(|name| {
        name.starts_with('.')
            || name.starts_with('#')
            || name.ends_with('~')
            || matches!(name, "node_modules" | "bower_components" | "__pycache__")
    })
}

/// The path without `.` and `..`.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_as_far_as_they_say_it_in_plain_words() {
        let config = "const config = {\n  url: 'https://docs.example',\n  // url: 'https://no.example',\n  \"baseUrl\" : \"/x/\",\n\
            themeConfig: {docs: {sidebar: {}}},\n presets: [['classic', {docs: {path: '../docs', sidebarPath: './s.js'},\n\
            blog: {path: 'blog'}}]],\n plugins: [['@docusaurus/plugin-content-docs', {id: 'a', path: 'guides',\n\
            routeBasePath: '/how-to'}]]}";
        let config = without_comments(config);
        assert_eq!(
            literals(&config, "url").collect::<Vec<_>>(),
            ["https://docs.example"]
        );
        assert_eq!(literals(&config, "baseUrl").collect::<Vec<_>>(), ["/x/"]);
        let found = instances(&config);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.dir.as_str(), one.route.as_str(), one.is_blog))
            .collect();
        assert_eq!(
            found,
            [
                ("../docs", "docs", false),
                ("blog", "blog", true),
                ("guides", "/how-to", false)
            ]
        );
        assert_eq!(
            instances("docs: {routeBasePath: '/'}"),
            [Instance {
                dir: "docs".to_owned(),
                route: "/".to_owned(),
                is_blog: false
            }]
        );
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [("a/./b/../c", "a/c"), ("../a", "../a"), ("/a/..", "/")] {
            assert_eq!(clean(Path::new(path)), Path::new(expected));
        }
    }
}
