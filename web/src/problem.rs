//! A problem, and what to do about it.

use kindred_api::problem::Problem;
use maud::{Markup, html};

use crate::frame::{Frame, HeaderLink, Live};

/// A problem as a view of its own.
pub fn page(frame: &Frame, problem: &Problem) -> String {
    let body = html! {
        p.crumbs { a href="/" { "Domains" } }
        h1 { (problem.title) }
        p.lead { (problem.detail) }
        p.beside { "Status " (problem.status) " · " code { (problem.word()) }
            @if let Some(field) = &problem.field { " · " code { (field) } } }
        p { a href=(frame.here) { "Try again" } }
    };
    frame.page(&problem.title, HeaderLink::Elsewhere, Live::No, &body)
}

/// A problem inside a view.
pub(crate) fn note(problem: &Problem) -> Markup {
    html! {
        div.note role="alert" {
            p { strong { (problem.title) } @if let Some(field) = &problem.field { " · " code { (field) } } }
            p { (problem.detail) }
        }
    }
}
