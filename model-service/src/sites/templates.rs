//! Removes syntax for generators from texts: shortcodes, Liquid and Nunjucks tags, JSX, kramdown
//! attributes.
//!
//! It is removed before Markdown is parsed; the content between an opening and a closing shortcode
//! stays, unless it is code. Everything is found in one pass, and what is not closed nearby counts
//! as text. Searching for missing ends costs at most as much as reading the text some dozens of
//! times ([`Budget`]).

use std::collections::HashSet;

/// Longest kramdown attribute list, in bytes.
const MAX_ATTRIBUTES_BYTES: usize = 400;
/// Longest removed piece, in bytes.
const MAX_BYTES: usize = 8 << 10;

/// Limits the search for missing ends.
struct Budget(usize);

impl Budget {
    fn of(text: &str) -> Self {
        Self(32 * text.len() + (1 << 20))
    }

    /// Searches while budget is left; a fruitless search uses it up.
    fn look<T>(&mut self, text: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if self.0 == 0 {
            return None;
        }
        let found = find(text);
        // Most characters start nothing, which is checked first.
        let second = text.as_bytes().get(1).copied().unwrap_or_default();
        if found.is_none() && !second.is_ascii_whitespace() {
            self.0 = self.0.saturating_sub(text.len().min(MAX_BYTES));
        }
        found
    }
}

/// Tags whose content is not text for readers.
const CODE: [&str; 9] = [
    "comment",
    "gist",
    "highlight",
    "javascript",
    "katex",
    "math",
    "mermaid",
    "script",
    "style",
];

/// The text without shortcodes, template tags and outputs, and kramdown attributes.
pub(super) fn without_templates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut endless: HashSet<String> = HashSet::new();
    let mut budget = Budget::of(text);
    while let Some(next) = text[at..].find('{').map(|next| at + next) {
        out.push_str(&text[at..next]);
        let rest = &text[next..];
        let is_template = rest.starts_with("{{") || rest.starts_with("{%");
        let end = match is_template {
            true => budget.look(rest, template),
            false => template(rest),
        };
        let Some(end) = end else {
            out.push('{');
            at = next + 1;
            continue;
        };
        at = next + end;
        let name = name_of(&rest[..end]);
        if CODE.contains(&name) && !endless.contains(name) {
            match end_of(&text[at..], name, &mut budget) {
                Some(after) => at += after,
                None => {
                    endless.insert(name.to_owned());
                }
            }
        }
    }
    out.push_str(&text[at..]);
    out
}

/// The length of the template that starts here, if one does.
fn template(rest: &str) -> Option<usize> {
    let (open, close) = if rest.starts_with("{{<") {
        (3, ">}}")
    } else if rest.starts_with("{{%") {
        (3, "%}}")
    } else if rest.starts_with("{{") {
        (2, "}}")
    } else if rest.starts_with("{%") {
        (2, "%}")
    } else if rest.starts_with("{:") || rest.starts_with("{::") {
        // A kramdown attribute list is on one line.
        let near = &rest[..rest.floor_char_boundary(MAX_ATTRIBUTES_BYTES)];
        return Some(near.lines().next()?.find('}')? + 1);
    } else {
        return None;
    };
    let near = &rest[open..rest.floor_char_boundary(MAX_BYTES)];
    Some(open + near.find(close)? + close.len())
}

/// The first word of a template.
fn name_of(template: &str) -> &str {
    let inside = template.trim_start_matches(['{', '%', '<', '-', ' ', '\t', '\n']);
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &inside[..end.unwrap_or(inside.len())]
}

/// The position after a tag's end.
fn end_of(text: &str, name: &str, budget: &mut Budget) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = text[at..].find('{').map(|next| at + next) {
        let rest = &text[next..];
        at = next + 1;
        let inside = rest.trim_start_matches(['{', '%', '<', '-', ' ', '\t']);
        let is_end = inside
            .strip_prefix("end")
            .or_else(|| inside.strip_prefix('/').map(str::trim_start))
            .is_some_and(|inside| inside.starts_with(name));
        if is_end && let Some(end) = budget.look(rest, template) {
            return Some(next + end);
        }
    }
    None
}

/// The text of MDX without JavaScript: imports and exports, components, expressions, comments. HTML
/// elements stay, without their attributes.
pub(super) fn without_jsx(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    let mut in_module = false;
    let mut budget = Budget::of(text);
    let mut at = 0;
    let mut begins_line = true;
    while at < text.len() {
        let rest = &text[at..];
        if begins_line {
            let line = &rest[..rest.find('\n').map_or(rest.len(), |end| end + 1)];
            let trimmed = line.trim_start();
            if let Some(open) = fence {
                if trimmed.starts_with(open) {
                    fence = None;
                }
                out.push_str(line);
                at += line.len();
                continue;
            }
            if trimmed.is_empty() {
                in_module = false;
            } else if ["import ", "export "]
                .iter()
                .any(|word| line.starts_with(word))
                && is_module(line)
            {
                in_module = true;
            }
            if in_module {
                at += line.len();
                continue;
            }
            if let Some(open) = ["```", "~~~"]
                .into_iter()
                .find(|open| trimmed.starts_with(open))
            {
                fence = Some(open);
                out.push_str(line);
                at += line.len();
                continue;
            }
        }
        begins_line = false;
        let first = rest.as_bytes()[0];
        match first {
            b'\n' => {
                out.push('\n');
                at += 1;
                begins_line = true;
            }
            b'\\' => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                at += length;
                // An escaped line end is a line end.
                begins_line = rest[..length].ends_with('\n');
            }
            b'`' => {
                let ticks = rest.bytes().take_while(|byte| *byte == b'`').count();
                let end = budget.look(&rest[ticks..], |after| {
                    after[..after.floor_char_boundary(MAX_BYTES)].find(&rest[..ticks])
                });
                let length = end.map_or(ticks, |end| 2 * ticks + end);
                out.push_str(&rest[..length]);
                at += length;
            }
            b'{' => match budget.look(rest, balanced) {
                Some(length) => at += length,
                None => {
                    out.push('{');
                    at += 1;
                }
            },
            b'<' => match budget.look(rest, tag) {
                Some((length, kept)) => {
                    out.push_str(&kept);
                    at += length;
                }
                None => {
                    out.push('<');
                    at += 1;
                }
            },
            _ => {
                let length = rest
                    .find(['\n', '\\', '`', '{', '<'])
                    .unwrap_or(rest.len())
                    .max(1);
                out.push_str(&rest[..length]);
                at += length;
            }
        }
    }
    out
}

/// Whether a line that starts with `import` or `export` is code.
fn is_module(line: &str) -> bool {
    let rest = line[7..].trim_start();
    [
        "default", "const", "let", "function", "async", "class", "{", "*", "'", "\"", "type ",
    ]
    .iter()
    .any(|word| rest.starts_with(word))
        || line.contains(" from ")
}

/// The length of a balanced pair of braces.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().take(MAX_BYTES) {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'`') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (None, _) => {}
        }
    }
    None
}

/// The length of the tag that starts here, and what remains of it.
fn tag(text: &str) -> Option<(usize, String)> {
    let is_end = text[1..].starts_with('/');
    let name_at = 1 + usize::from(is_end);
    let name = &text[name_at..];
    let name = &name[..name
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_' | ':'))
        .unwrap_or(name.len())];
    if name.is_empty() {
        // A fragment.
        return text[name_at..]
            .starts_with('>')
            .then(|| (name_at + 1, String::new()));
    }
    // An autolink in angle brackets is not a tag.
    if !name.as_bytes()[0].is_ascii_alphabetic() || name.contains(':') {
        return None;
    }
    let mut at = name_at + name.len();
    let limit = text.floor_char_boundary(MAX_BYTES);
    let mut quote = None;
    while at < limit {
        let byte = text.as_bytes()[at];
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{') => {
                at += balanced(&text[at..])?;
                continue;
            }
            (None, b'>') => {
                let is_component = name.as_bytes()[0].is_ascii_uppercase() || name.contains('.');
                let kept = match (is_component, is_end) {
                    (true, _) => String::new(),
                    (false, false) => format!("<{name}>"),
                    (false, true) => format!("</{name}>"),
                };
                return Some((at + 1, kept));
            }
            // A less-than sign in prose.
            (None, b'<') => return None,
            (None, _) => {}
        }
        at += 1;
    }
    None
}

/// The text without the markers of admonitions of Docusaurus and others; their titles stay.
pub(super) fn without_admonitions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let Some(mark) = trimmed.strip_prefix(":::") else {
            out.push_str(line);
            continue;
        };
        let title = mark
            .trim_start_matches(':')
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
        let title = title.split('{').next().unwrap_or_default().trim();
        let title = title
            .strip_prefix('[')
            .and_then(|title| title.strip_suffix(']'))
            .unwrap_or(title);
        out.push('\n');
        if !title.is_empty() {
            out.push_str(title);
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(found: String, expected: &str) {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&found), expected);
    }

    #[test]
    fn templates_go_and_what_they_hold_stays() {
        for (text, expected) in [
            ("a {{< figure src=\"x.png\" >}} b", "a b"),
            ("{{% note %}}\nMind *this*\n{{% /note %}}", "Mind *this*"),
            ("{% include x.html %} a {{ page.title }} b", "a b"),
            (
                "a {% highlight rust %}\nlet x;\n{% endhighlight %} b",
                "a b",
            ),
            (
                "a {{< highlight go >}}\nx := 1\n{{< /highlight >}} b",
                "a b",
            ),
            ("a {%- comment -%} not this {%- endcomment -%} b", "a b"),
            ("a {% highlight x %} b", "a b"),
            ("{% raw %}a{% endraw %}", "a"),
            ("a {: .note}\nb", "a b"),
            (
                "set {a, b} and {{ not closed",
                "set {a, b} and {{ not closed",
            ),
            ("é{{é}}é", "éé"),
        ] {
            is(without_templates(text), expected);
        }
    }

    #[test]
    fn mdx_keeps_its_prose() {
        for (text, expected) in [
            (
                "import Tabs from '@theme/Tabs';\nimport {\n  a,\n} from 'b';\n\nImport duties rise.\n",
                "Import duties rise.",
            ),
            ("import duties rise from day to day\n", ""),
            ("export duties rise\n", "export duties rise"),
            (
                "<Tabs values={[{label: 'a > b', value: \"}\"}]}>\n<TabItem value=\"x\">\n\nText.\n\n</TabItem></Tabs>",
                "Text.",
            ),
            ("a {/* not this */} b {props.x} c", "a b c"),
            ("<div style={{color: 'red'}}>in</div>", "<div>in</div>"),
            (
                "if a < b and <https://e.example/>",
                "if a < b and <https://e.example/>",
            ),
            ("`<Tabs>` and `{x}`", "`<Tabs>` and `{x}`"),
            (
                "```js\nimport x from 'y'\n<A/>\n```\n<A.B c/>",
                "```js import x from 'y' <A/> ```",
            ),
            ("\\{a\\} <>b</>", "\\{a\\} b"),
            ("{ never closed <Tabs", "{ never closed <Tabs"),
            ("é{é}é<É>", "éé<É>"),
        ] {
            is(without_jsx(text), expected);
        }
    }

    #[test]
    fn admonitions_keep_their_titles() {
        is(
            without_admonitions("a\n:::tip[Mind the gap]\nb\n:::\n::::note Title {.x}\nc\n::::\n"),
            "a Mind the gap b Title c",
        );
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        for unit in [
            "{{",
            "{:",
            "{% highlight x %}",
            "<a ",
            "{",
            "`",
            "{\"",
            "<A b={",
        ] {
            let text = format!("é{}", unit.repeat((1 << 20) / unit.len()));
            without_templates(&text);
            without_jsx(&text);
        }
    }
}
