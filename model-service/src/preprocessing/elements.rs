//! The names of HTML elements, and what their tags mean for the text. All lists ascend.

/// Every element, current and obsolete.
#[rustfmt::skip] // one a line would fill pages
pub(super) const ELEMENTS: [&str; 131] = [
    "a", "abbr", "acronym", "address", "applet", "area", "article", "aside", "audio", "b",
    "base", "basefont", "bdi", "bdo", "big", "blink", "blockquote", "body", "br", "button",
    "canvas", "caption", "center", "cite", "code", "col", "colgroup", "data", "datalist", "dd",
    "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt", "em", "embed", "fieldset",
    "figcaption", "figure", "font", "footer", "form", "frame", "frameset", "h1", "h2", "h3",
    "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "i", "iframe", "img", "input",
    "ins", "kbd", "label", "legend", "li", "link", "main", "map", "mark", "marquee", "math",
    "menu", "meta", "meter", "nav", "nobr", "noembed", "noframes", "noscript", "object", "ol",
    "optgroup", "option", "output", "p", "param", "picture", "pre", "progress", "q", "rp", "rt",
    "ruby", "s", "samp", "script", "search", "section", "select", "slot", "small", "source",
    "span", "strike", "strong", "style", "sub", "summary", "sup", "svg", "table", "tbody", "td",
    "template", "textarea", "tfoot", "th", "thead", "time", "title", "tr", "track", "tt", "u",
    "ul", "var", "video", "wbr",
];

/// Elements whose tags do not end a word. All others do, but for `wbr`.
#[rustfmt::skip] // one a line would fill pages
pub(super) const INLINE: [&str; 35] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "cite", "code", "data", "del",
    "dfn", "em", "font", "i", "ins", "kbd", "label", "mark", "nobr", "q", "ruby", "s", "samp",
    "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var",
];

/// Elements dropped with all they hold, up to their first end tag; without one, only the tag is.
#[rustfmt::skip] // one a line would fill pages
pub(super) const DROPPED: [&str; 8] = [
    "iframe", "noembed", "noframes", "script", "style", "svg", "template", "title",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ascend_and_name_elements() {
        for list in [&ELEMENTS[..], &INLINE, &DROPPED] {
            assert!(list.is_sorted_by(|a, b| a < b));
            for name in list {
                assert!(ELEMENTS.contains(name), "{name}");
            }
        }
    }
}
