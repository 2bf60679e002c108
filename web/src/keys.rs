//! The list of keys, and forms to create and revoke them.

use kindred_api::key::{CreatedKey, Key};
use kindred_api::problem::Problem;
use maud::{Markup, html};

use crate::figures::moment;
use crate::frame::{Frame, HeaderLink, Live, copied};
use crate::problem;

/// The outcome of a form.
#[derive(Debug, Clone)]
pub enum Done {
    /// No form was sent.
    Nothing,
    /// A key was created.
    Created(CreatedKey),
    /// A key was revoked.
    Revoked,
    /// It failed.
    Failed(Problem),
}

/// The view; `keys` are the existing keys, or why they cannot be listed.
pub fn page(frame: &Frame, keys: &Result<Vec<Key>, Problem>, done: &Done) -> String {
    let body = html! {
        h1 { "Keys" }
        @match done {
            Done::Nothing => {},
            Done::Created(key) => (created(key)),
            Done::Revoked => p.note role="status" { "Revoked. Every instance refuses it within 5 seconds." },
            Done::Failed(error) => (problem::note(error)),
        }
        @match keys {
            Err(error) if error.word() == "no-key" => (none()),
            Err(error) => (problem::note(error)),
            Ok(keys) => { (table(frame, keys)) (form(frame)) }
        }
    };
    frame.page("Keys", HeaderLink::Keys, Live::No, &body)
}

fn created(key: &CreatedKey) -> Markup {
    html! {
        div.note role="status" {
            p { strong { "A key for " (key.grants.join(", ")) } }
            (copied("Secret", &key.secret))
            p { "Copy it now: it is not stored, and is not shown again." }
        }
    }
}

fn none() -> Markup {
    html! {
        p.lead { "There are no keys: anyone who can reach this service may do everything." }
        p { "Create the first key on the machine that stores the data, so that nobody else can lock you out:" }
        (copied("Command", "kindred keys create --grant admin"))
    }
}

fn table(frame: &Frame, keys: &[Key]) -> Markup {
    html! {
        p.lead { "What each key allows. Secrets are not stored: if one is lost, revoke its key and create another." }
        table {
            caption.unseen { "Keys, the oldest first" }
            thead { tr { th scope="col" { "Key" } th scope="col" { "Grants" } th.wide scope="col" { "Created" } th.wide scope="col" { "Expires" } th scope="col" { span.unseen { "Revoke" } } } }
            tbody { @for key in keys {
                tr {
                    th scope="row" { code { (key.id) } }
                    td { @for grant in &key.grants { code.grant { (grant) } " " } }
                    td.wide { (moment(&key.created)) }
                    td.wide { @match &key.expires { Some(at) => (moment(at)), None => "never" } }
                    td.number {
                        form method="post" action="/keys" data-sure=(format!("Revoke the key {}?", key.id)) {
                            (frame.token_field())
                            input type="hidden" name="revoke" value=(key.id);
                            button.quiet { "Revoke" span.unseen { " " (key.id) } }
                        }
                    }
                }
            } }
        }
    }
}

fn form(frame: &Frame) -> Markup {
    html! {
        h2 { "Create a key" }
        form.conditions.narrow method="post" action="/keys" {
            (frame.token_field())
            label { span { "Grants, one per line" } textarea name="grants" rows="3" required placeholder="read:news.example" {} }
            label { span { "Valid for" } input name="expires" placeholder="forever, or 90d" autocomplete="off"; }
            p.beside { code { "read" } ", " code { "write" } " and " code { "manage" } " of a domain (" code { "read:news.example" } "), of all domains with a common prefix ("
                code { "read:news.*" } ") or of all (" code { "read:*" } "); " code { "metrics" } "; " code { "admin" } ": everything." }
            div.row { button { "Create key" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::tests::frame;

    #[test]
    fn a_secret_is_shown_once_and_every_form_has_the_token() {
        let key: Key = serde_json::from_value(
            json!({"id": "abc", "grants": ["read:a"], "created": "2026-11-23T09:00:00.000Z"}),
        )
        .expect("a key");
        let made = CreatedKey {
            id: "x".into(),
            secret: "kk_secret".into(),
            grants: vec!["admin".into()],
            expires: None,
        };
        let text = page(&frame(), &Ok(vec![key.clone()]), &Done::Created(made));
        assert!(text.contains("kk_secret"));
        assert_eq!(
            text.matches("<form").count(),
            text.matches("value=\"a-token\"").count()
        );
        assert!(!page(&frame(), &Ok(vec![key]), &Done::Nothing).contains("kk_secret"));
    }
}
