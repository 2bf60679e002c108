//! Signing in with a key.

use maud::html;

use crate::frame::{Frame, HeaderLink, Live};

/// The view; `next` is the page to go to afterwards, `problem` is why signing in failed.
pub fn page(frame: &Frame, next: &str, problem: Option<&str>) -> String {
    let body = html! {
        section.door {
            h1 { "Sign in" }
            p.lead { "This service requires a key. The page shows what your key allows." }
            @if let Some(problem) = problem { p.note #why role="alert" { (problem) } }
            form.conditions method="post" action="/sign-in" {
                (frame.token_field())
                input type="hidden" name="next" value=(next);
                label { span { "Key" }
                    input name="key" type="password" required autocomplete="current-password" placeholder="kk_…" spellcheck="false"
                        aria-describedby=[problem.map(|_| "why")] autofocus; }
                div.row { button { "Sign in" } }
            }
            p.beside { "The key is exchanged for a cookie and is not stored. Administrators create keys with " code { "kindred keys create" } "." }
        }
    };
    frame.page("Sign in", HeaderLink::Elsewhere, Live::No, &body)
}
