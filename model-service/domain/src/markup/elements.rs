//! The names of HTML elements, and the effect of their tags on the text. All lists are sorted.

/// Every HTML element, current and obsolete; those JATS elements (the format of journal articles) that are written
/// without a prefix; and Word's `xml`.
#[rustfmt::skip] // one a line would fill pages
pub(super) const ELEMENTS: [&str; 139] = [
    "a", "abbr", "acronym", "address", "applet", "area", "article", "aside", "audio", "b",
    "base", "basefont", "bdi", "bdo", "big", "blink", "blockquote", "body", "bold", "br",
    "button", "canvas", "caption", "center", "cite", "code", "col", "colgroup", "data",
    "datalist", "dd", "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt", "em", "embed",
    "fieldset", "figcaption", "figure", "font", "footer", "form", "frame", "frameset", "h1",
    "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "i", "iframe", "img",
    "input", "ins", "italic", "kbd", "label", "legend", "li", "link", "main", "map", "mark",
    "marquee", "math", "menu", "meta", "meter", "monospace", "nav", "nobr", "noembed",
    "noframes", "noscript", "object", "ol", "optgroup", "option", "output", "p", "param",
    "picture", "pre", "progress", "q", "rp", "rt", "ruby", "s", "samp", "script", "search",
    "sec", "section", "select", "slot", "small", "source", "span", "strike", "strong", "style",
    "sub", "summary", "sup", "svg", "table", "tbody", "td", "template", "tex-math", "textarea",
    "tfoot", "th", "thead", "time", "title", "tr", "track", "tt", "u", "ul", "underline", "var",
    "video", "wbr", "xml", "xref",
];

/// Elements whose tags do not end a word. All others do, except `wbr`.
#[rustfmt::skip] // one a line would fill pages
pub(super) const INLINE: [&str; 40] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "bold", "cite", "code", "data",
    "del", "dfn", "em", "font", "i", "ins", "italic", "kbd", "label", "mark", "monospace",
    "nobr", "q", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time",
    "tt", "u", "underline", "var", "xref",
];

/// Elements that are dropped with their contents, up to their first end tag. Without an end tag only the tag is
/// dropped, unless code follows ([`CODE`]). Formulas are among them, because their letters mean nothing as words.
#[rustfmt::skip] // one a line would fill pages
pub(super) const DROPPED: [&str; 11] = [
    "iframe", "math", "noembed", "noframes", "script", "style", "svg", "template", "tex-math",
    "title", "xml",
];

/// Those of them that contain code: without an end tag, the text was cut off within it.
pub(super) const CODE: [&str; 3] = ["script", "style", "xml"];

/// Prefixes whose `title` is the heading of a section ("Background"), not that of the item.
pub(super) const OF_SECTIONS: [&str; 2] = ["jats", "svg"];

/// Character references for accented letters that many systems write without `;`. They may occur within a word.
#[rustfmt::skip] // one a line would fill pages
pub(super) const LETTERS: [&str; 62] = [
    "AElig", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "Ccedil", "ETH", "Eacute",
    "Ecirc", "Egrave", "Euml", "Iacute", "Icirc", "Igrave", "Iuml", "Ntilde", "Oacute", "Ocirc",
    "Ograve", "Oslash", "Otilde", "Ouml", "THORN", "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute",
    "aacute", "acirc", "aelig", "agrave", "aring", "atilde", "auml", "ccedil", "eacute", "ecirc",
    "egrave", "eth", "euml", "iacute", "icirc", "igrave", "iuml", "ntilde", "oacute", "ocirc",
    "ograve", "oslash", "otilde", "ouml", "szlig", "thorn", "uacute", "ucirc", "ugrave", "uuml",
    "yacute", "yuml",
];

/// The same for signs; they count only if no letter, digit or `=` follows.
#[rustfmt::skip] // one a line would fill pages
pub(super) const SIGNS: [&str; 29] = [
    "AMP", "COPY", "GT", "LT", "QUOT", "REG", "amp", "copy", "curren", "deg", "divide",
    "frac12", "frac14", "frac34", "gt", "iexcl", "iquest", "laquo", "lt", "micro", "middot", "nbsp",
    "pound", "quot", "raquo", "reg", "shy", "times", "yen",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ascend_and_name_elements() {
        for list in [&LETTERS[..], &SIGNS] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        for list in [&ELEMENTS[..], &INLINE, &DROPPED, &CODE] {
            assert!(list.is_sorted_by(|a, b| a < b));
            for name in list {
                assert!(ELEMENTS.contains(name), "{name}");
            }
        }
    }
}
