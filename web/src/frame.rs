//! The frame of every view.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::links;

/// The colour scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// The system's setting.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Parses the stored form.
    pub fn of(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    fn word(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }
}

/// The visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Anyone: the service has no keys.
    Anyone,
    /// Not signed in.
    Nobody,
    /// Signed in with this key.
    Key {
        /// The key's name.
        name: String,
        /// Whether it grants everything.
        is_admin: bool,
    },
}

/// The context that a view is rendered in.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Path and query of the view.
    pub here: String,
    /// The address of this service, as `http://host:port`.
    pub base: String,
    /// The colour scheme.
    pub theme: Theme,
    /// The visitor.
    pub who: Who,
    /// The token that forms which change something must send.
    pub token: String,
    /// The version of the program.
    pub version: &'static str,
}

/// The pages that the header always links to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderLink {
    Domains,
    Activity,
    Keys,
    Elsewhere,
}

/// The views of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Items,
    Text,
    Map,
    Experiments,
    Settings,
}

/// How a view is kept up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// Never: it is a snapshot.
    No,
    /// Requested again every few seconds.
    Polled,
    /// Requested again when the stream of activity says so.
    Streamed,
}

impl Frame {
    /// A complete view.
    pub(crate) fn page(&self, title: &str, place: HeaderLink, live: Live, body: &Markup) -> String {
        let whole = html! {
            (DOCTYPE)
            html lang="en" data-theme=[self.theme.word()] {
                head {
                    meta charset="utf-8";
                    title { (title) " · Kindred" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    link rel="icon" href=(ICON.address());
                    link rel="stylesheet" href=(STYLE.address());
                    script src=(SCRIPT.address()) defer {}
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    (self.head(place))
                    main #main data-live=[match live { Live::No => None, Live::Polled => Some("poll"), Live::Streamed => Some("stream") }] {
                        (body)
                    }
                    footer {
                        p { "Kindred " (self.version) }
                        p { a href="/openapi.json" { "API (OpenAPI)" } }
                    }
                    p #said.unseen role="status" {}
                }
            }
        };
        whole.into_string()
    }

    fn head(&self, place: HeaderLink) -> Markup {
        let link = |to: &str, of: HeaderLink, name: &str| {
            html! { li { a href=(to) aria-current=[(of == place).then_some("page")] { (name) } } }
        };
        html! {
            header.top {
                a.brand href="/" aria-label="Kindred, all domains" { (SIGN) span { "Kindred" } }
                @if self.who != Who::Nobody {
                    nav aria-label="Main" {
                        ul {
                            (link("/", HeaderLink::Domains, "Domains"))
                            (link("/activity", HeaderLink::Activity, "Activity"))
                            (link("/keys", HeaderLink::Keys, "Keys"))
                        }
                    }
                }
                div.tools {
                    @if let Who::Key { name, .. } = &self.who {
                        form method="post" action="/sign-out" {
                            (self.token_field())
                            button.quiet title=(format!("Signed in with the key {name}")) { "Sign out" }
                        }
                    }
                    button.quiet #theme type="button" hidden { "Dark" }
                }
            }
        }
    }

    /// The hidden field of every form that changes something.
    pub(crate) fn token_field(&self) -> Markup {
        html! { input type="hidden" name="token" value=(self.token); }
    }

    /// A view of a domain.
    pub(crate) fn domain_page(
        &self,
        domain: &str,
        tab: Tab,
        title: &str,
        head: &Markup,
        body: &Markup,
    ) -> String {
        let link = |below: &str, of: Tab, name: &str| {
            let to = links::domain(domain, below);
            html! { li { a href=(to) aria-current=[(of == tab).then_some("page")] { (name) } } }
        };
        let whole = html! {
            (head)
            nav.tabs aria-label=(format!("Of {domain}")) {
                ul {
                    (link("", Tab::Items, "Items"))
                    (link("/text", Tab::Text, "Compare a text"))
                    (link("/map", Tab::Map, "Map"))
                    (link("/experiments", Tab::Experiments, "Experiments"))
                    (link("/settings", Tab::Settings, "Settings"))
                }
            }
            (body)
        };
        self.page(title, HeaderLink::Domains, Live::No, &whole)
    }

    /// The header of a domain's views.
    pub(crate) fn domain_head(&self, domain: &str, beside: &Markup) -> Markup {
        html! {
            p.crumbs { a href="/" { "Domains" } }
            h1.name { (domain) }
            p.beside { (beside) }
        }
    }
}

/// The logo: two sets, and their intersection.
const SIGN: PreEscaped<&str> = PreEscaped(
    "<svg viewBox=\"0 0 34 22\" aria-hidden=\"true\"><circle class=\"a\" cx=\"11\" cy=\"11\" r=\"9.5\"/>\
     <circle class=\"a\" cx=\"23\" cy=\"11\" r=\"9.5\"/><path class=\"b\" d=\"M17 3.6a9.5 9.5 0 0 1 0 14.8a9.5 9.5 0 0 1 0-14.8z\"/></svg>",
);

/// A text with a button that copies it.
pub(crate) fn copied(name: &str, text: &str) -> Markup {
    html! {
        div.copy {
            div.copy-head {
                span { (name) }
                button.quiet type="button" data-copy hidden { "Copy" span.unseen { " " (name) } }
            }
            pre tabindex="0" role="region" aria-label=(name) { code { (text) } }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn frame() -> Frame {
        Frame {
            here: "/".to_owned(),
            base: "http://127.0.0.1:8080".to_owned(),
            theme: Theme::System,
            who: Who::Anyone,
            token: "a-token".to_owned(),
            version: "0.0.0",
        }
    }

    #[test]
    fn a_view_has_no_style_and_no_script_inside() {
        let text = frame().page(
            "<t>",
            HeaderLink::Keys,
            Live::Streamed,
            &html! { p { "x" } },
        );
        assert!(
            !text.contains("<style") && !text.contains(" style=") && !text.contains(" onclick=")
        );
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script src=\"/page/").count()
        );
        assert!(
            text.contains("<title>&lt;t&gt; · Kindred</title>")
                && text.contains("data-live=\"stream\"")
        );
        assert_eq!(text.matches("aria-current").count(), 1);
    }

    #[test]
    fn who_is_signed_in_can_sign_out_and_who_is_not_sees_no_ways() {
        let mut one = frame();
        one.who = Who::Key {
            name: "abc".to_owned(),
            is_admin: false,
        };
        let text = one.page("t", HeaderLink::Domains, Live::No, &html! {});
        assert!(text.contains("action=\"/sign-out\"") && text.contains("value=\"a-token\""));
        one.who = Who::Nobody;
        one.theme = Theme::of("dark");
        let text = one.page("t", HeaderLink::Elsewhere, Live::No, &html! {});
        assert!(!text.contains("<nav") && text.contains("data-theme=\"dark\""));
    }
}
