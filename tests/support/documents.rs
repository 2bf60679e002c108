//! What documents show: blocks, the commands in them, and code within sentences.

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// The root of the repository: every package that uses this file is a folder of it.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");
/// What is read besides the files at the root.
const FOLDERS: [&str; 2] = ["docs", "deploy"];
/// It is about former releases too.
const NOT_READ: &str = "CHANGELOG.md";

/// A file of Markdown.
pub(crate) struct Document {
    /// From the root: `docs/IMPORT.md`.
    pub(crate) path: String,
    /// Its blocks, in order.
    pub(crate) blocks: Vec<Block>,
    /// What is between its blocks.
    prose: String,
}

/// Text between two lines of three backticks.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Document and line, as a compiler would say it.
    pub(crate) place: String,
    /// What stands behind the first backticks: `sh`. What commands print has none.
    pub(crate) language: String,
    pub(crate) text: String,
}

/// A command with its arguments, without what a shell does with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Variables that are set for it alone, or by `export`.
    pub(crate) variables: Vec<String>,
    /// Its words. A word of an expansion is what stands there: `$HOME`; of a command, `$()`.
    pub(crate) words: Vec<String>,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let above = Path::new(PACKAGE).parent();
    above.expect("a package is a folder of it").to_owned()
}

/// Every document, by path.
///
/// # Panics
/// When one cannot be read, or has a block without an end.
pub(crate) fn documents() -> Vec<Document> {
    let root = root();
    let mut paths = markdown(&root, false);
    for folder in FOLDERS {
        paths.extend(markdown(&root.join(folder), true));
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a document");
        let path = path.strip_prefix(&root).expect("below the root");
        Document::new(&path.to_string_lossy(), &text)
    };
    let documents: Vec<Document> = paths.iter().map(read).collect();
    assert!(documents.len() > FOLDERS.len(), "documents are there");
    documents
}

fn markdown(folder: &Path, also_below: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of documents") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && also_below {
            found.extend(markdown(&path, true));
        } else if path.extension().is_some_and(|name| name == "md") && !path.ends_with(NOT_READ) {
            found.push(path);
        }
    }
    found
}

impl Document {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (open.take(), fence) {
                (None, Some(language)) => {
                    open = Some(Block {
                        place: format!("{path}:{}", number + 1),
                        language: language.trim().to_owned(),
                        text: String::new(),
                    });
                }
                (Some(block), Some(_)) => blocks.push(block),
                (Some(mut block), None) => {
                    block.text += line;
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {
                    prose += line;
                    prose.push('\n');
                }
            }
        }
        assert!(open.is_none(), "{path}: a block has no end");
        Self {
            path: path.to_owned(),
            blocks,
            prose,
        }
    }

    /// Blocks of this language.
    pub(crate) fn of<'a>(&'a self, language: &'a str) -> impl Iterator<Item = &'a Block> {
        let blocks = self.blocks.iter();
        blocks.filter(move |block| block.language == language)
    }

    /// Code within sentences, each on one line, as a reader sees it.
    pub(crate) fn spans(&self) -> impl Iterator<Item = String> {
        let code = self.prose.split('`').skip(1).step_by(2);
        code.map(|span| {
            let words: Vec<&str> = span.split_whitespace().collect();
            // In a cell of a table, a bar is escaped.
            words.join(" ").replace(r"\|", "|")
        })
    }
}

/// The commands of a script, those in `$(…)` before the one they are in.
pub(crate) fn commands(script: &str) -> Vec<Command> {
    let mut shell = Shell {
        rest: script.chars().peekable(),
        found: Vec::new(),
    };
    shell.list(None);
    shell.found
}

/// As much of a shell's grammar as documents use.
struct Shell<'a> {
    rest: Peekable<Chars<'a>>,
    found: Vec<Command>,
}

impl Shell<'_> {
    /// Reads commands up to `end`, or the end of the script.
    fn list(&mut self, end: Option<char>) {
        let (mut words, mut word) = (Vec::new(), None::<String>);
        // The next word is a file that something is written to or read from.
        let mut is_file = false;
        while let Some(c) = self.rest.next() {
            if Some(c) == end {
                break;
            }
            match c {
                '\\' => match self.rest.next() {
                    None | Some('\n') => {}
                    Some(c) => word.get_or_insert_default().push(c),
                },
                '\'' => {
                    let quoted = self.rest.by_ref().take_while(|c| *c != '\'');
                    word.get_or_insert_default().extend(quoted);
                }
                '"' => {
                    let quoted = self.quoted();
                    *word.get_or_insert_default() += &quoted;
                }
                '$' if self.rest.next_if_eq(&'(').is_some() => {
                    self.list(Some(')'));
                    *word.get_or_insert_default() += "$()";
                }
                '#' if word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '<' | '>' => {
                    // A number before it is that of a stream.
                    let is_stream = |word: &String| word.parse::<u8>().is_ok();
                    words.extend(word.take().filter(|word| !is_stream(word)));
                    while self.rest.next_if(|c| ">&".contains(*c)).is_some() {}
                    is_file = true;
                }
                ' ' | '\t' | '\n' | ';' | '|' | '&' => {
                    if let Some(word) = word.take()
                        && !std::mem::take(&mut is_file)
                    {
                        words.push(word);
                    }
                    if c != ' ' && c != '\t' {
                        self.end(&mut words);
                    }
                }
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word.filter(|_| !is_file));
        self.end(&mut words);
    }

    /// The rest of a word in double quotes.
    fn quoted(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next() {
            match c {
                '"' => break,
                '\\' => word.extend(self.rest.next()),
                '$' if self.rest.next_if_eq(&'(').is_some() => {
                    self.list(Some(')'));
                    word += "$()";
                }
                c => word.push(c),
            }
        }
        word
    }

    fn end(&mut self, words: &mut Vec<String>) {
        let mut words = std::mem::take(words);
        let is_assignment = |word: &String| {
            let (name, _) = word.split_once('=')?;
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
        };
        let is_export = words.first().is_some_and(|word| word == "export");
        if is_export {
            words.remove(0);
        }
        let variables: Vec<String> = words.iter().map_while(is_assignment).collect();
        words.drain(..variables.len());
        if is_export {
            words.clear();
        }
        if !variables.is_empty() || !words.is_empty() {
            self.found.push(Command { variables, words });
        }
    }
}

impl Command {
    /// The arguments of one of our programs, also where cargo builds and runs it; `None` for other programs.
    pub(crate) fn arguments_of(&self, program: &str) -> Option<&[String]> {
        let (first, rest) = self.words.split_first()?;
        if first.rsplit('/').next() == Some(program) {
            return Some(rest);
        }
        // Without a package, cargo runs `kindred`.
        let is_run = first == "cargo" && rest.first().is_some_and(|word| word == "run");
        if !is_run || program != "kindred" || rest.iter().any(|word| word == "--example") {
            return None;
        }
        let at = rest.iter().position(|word| word == "--");
        Some(at.map_or(&[], |at| &rest[at + 1..]))
    }

    /// Whether it is a Kindred that runs until it is ended.
    pub(crate) fn keeps_running(&self) -> bool {
        let Some(arguments) = self.arguments_of("kindred") else {
            return false;
        };
        let first = arguments.first().map_or("standalone", String::as_str);
        ["standalone", "demo", "model-service"].contains(&first)
            || arguments.iter().any(|word| word == "--watch")
    }
}
