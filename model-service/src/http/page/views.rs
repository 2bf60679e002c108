//! Views: what each queries, and how it renders the answers.

use actix_web::body::MessageBody;
use actix_web::http::{Method, StatusCode};
use kindred_api::activity::Activity;
use kindred_api::domain::{DomainAnswer, DomainsAnswer};
use kindred_api::experiment::{ExperimentAnswer, ExperimentsAnswer};
use kindred_api::item::{ItemAnswer, ItemsAnswer};
use kindred_api::key::{CreatedKey, KeysAnswer};
use kindred_api::map::MapAnswer;
use kindred_api::path::{self, with_query};
use kindred_api::problem::{Problem, ProblemKind};
use kindred_api::similar::SimilarAnswer;
use kindred_web::settings::Typed;
use kindred_web::text::Text;
use kindred_web::{
    ConditionsForm, Who, activity, compare, domains, encoded, experiments, item, items, keys, map,
    problem, settings, text,
};
use serde_json::json;

use super::super::parts::Lobby;
use super::ask::{Ask, Failed};
use super::form::value;
use super::{Shown, View, Visit};

type Fields = [(String, String)];

/// What is shown.
pub(super) async fn shown<B: MessageBody + 'static>(
    lobby: &Lobby,
    visit: &Visit,
    view: &View,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Result<Shown, Failed> {
    // Sending a text changes nothing.
    let changes = visit.is_sent && !matches!(view, View::Text(_));
    if changes && !is_meant(lobby, visit, fields) {
        return Ok(not_meant(visit));
    }
    let made = match view {
        View::Domains => of_domains(lobby, visit, fields, ask).await?,
        View::Items(domain) => of_items(visit, domain, fields, ask).await?,
        View::Item(domain, id) => of_item(visit, domain, id, fields, ask).await?,
        View::Text(domain) => of_text(visit, domain, fields, ask).await?,
        View::Map(domain) => of_map(visit, domain, ask).await?,
        View::Experiments(domain) => of_experiments(visit, domain, fields, ask).await?,
        View::Settings(domain) if changes => set(visit, domain, fields, ask).await?,
        View::Settings(domain) => of_settings(visit, domain, fields, ask).await?,
        View::Activity => {
            let told = ask.get::<Activity>("/v1/activity").await?;
            told.map(|told| page(activity::page(&visit.frame, &told)))
        }
        View::Keys => of_keys(visit, fields, ask).await?,
        View::SignIn | View::SignOut => {
            Err(Problem::new(ProblemKind::UnknownPath, "Unknown page."))
        }
    };
    Ok(made.unwrap_or_else(|problem| refused(visit, &problem)))
}

/// A problem, or the sign-in form for viewers who are not signed in.
pub(super) fn refused(visit: &Visit, problem: &Problem) -> Shown {
    if problem.status == 401 && visit.frame.who == Who::Nobody {
        let here = if visit.is_sent {
            "/"
        } else {
            &visit.frame.here
        };
        return Shown::Elsewhere(format!("/sign-in?next={}", encoded(here)), None);
    }
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Shown::Page(status, problem::page(&visit.frame, problem))
}

/// Whether a form comes from a view of this page: it has the viewer's token.
pub(super) fn is_meant(lobby: &Lobby, visit: &Visit, fields: &Fields) -> bool {
    let given = value(fields, "token");
    let session = visit
        .cookie
        .as_deref()
        .and_then(|cookie| lobby.guard.sessions.find(cookie));
    match session {
        Some(session) => session.token.is(given),
        None => lobby
            .guard
            .sessions
            .of_nobody()
            .is_ok_and(|token| token.is(given)),
    }
}

pub(super) fn not_meant(visit: &Visit) -> Shown {
    let detail = "This form is outdated: the service has been restarted, or somebody has signed \
        in since. Open the view again and send it from there.";
    refused(visit, &Problem::new(ProblemKind::NotGranted, detail))
}

fn page(text: String) -> Shown {
    Shown::Page(StatusCode::OK, text)
}

/// An API path below a domain, whose name is as it was sent.
fn at(domain: &str, below: &str) -> String {
    format!("{}/{domain}{below}", path::DOMAINS)
}

type Made = Result<Result<Shown, Problem>, Failed>;

async fn of_domains<B: MessageBody + 'static>(
    lobby: &Lobby,
    visit: &Visit,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = match ask.get::<DomainsAnswer>(path::DOMAINS).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    // Not every key may see it.
    let activity = ask.get::<Activity>("/v1/activity").await?.ok();
    let asked = domains::DomainSearch {
        q: value(fields, "q").trim().to_owned(),
        only: value(fields, "only").to_owned(),
        page: value(fields, "page").parse().unwrap_or(1),
    };
    let degraded = lobby.readiness.degraded();
    Ok(Ok(page(domains::page(
        &visit.frame,
        &told.domains,
        activity.as_ref(),
        &degraded,
        &asked,
    ))))
}

async fn of_items<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = match ask.get::<DomainAnswer>(&at(domain, "")).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let of_items = |(name, value): &&(String, String)| {
        items::FIELDS.contains(&name.as_str()) && !value.trim().is_empty()
    };
    let fields: Vec<(String, String)> = fields.iter().filter(of_items).cloned().collect();
    let mut pairs = vec![("limit", items::PAGE)];
    pairs.extend(
        fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim())),
    );
    let found = ask
        .get::<ItemsAnswer>(&with_query(&at(domain, "/items"), &pairs))
        .await?;
    Ok(found.map(|found| page(items::page(&visit.frame, &told, &found, &fields))))
}

async fn of_item<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    id: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let of_item = at(domain, &format!("/items/{id}"));
    let told = match ask.get::<ItemAnswer>(&of_item).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let (asked, with) = (ConditionsForm::of(fields), value(fields, "with"));
    if let (ItemAnswer::There(_), false) = (&told, with.is_empty()) {
        return of_two(visit, domain, id, with, ask).await;
    }
    let similar = match &told {
        ItemAnswer::There(_) => {
            ask.get::<SimilarAnswer>(&format!("{of_item}/similar{}", asked.query(true)))
                .await?
        }
        ItemAnswer::Gone(_) => Err(Problem::new(
            ProblemKind::UnknownItem,
            "It no longer exists.",
        )),
    };
    Ok(Ok(page(item::page(&visit.frame, &told, &similar, &asked))))
}

/// Two items side by side, with their texts.
async fn of_two<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    id: &str,
    with: &str,
    ask: &mut Ask<B>,
) -> Made {
    let mut both = Vec::new();
    for one in [id.to_owned(), encoded(with)] {
        match ask
            .get::<ItemAnswer>(&at(domain, &format!("/items/{one}?text=true")))
            .await?
        {
            Ok(ItemAnswer::There(item)) => both.push(item),
            Ok(ItemAnswer::Gone(_)) => {
                return Ok(Err(Problem::new(
                    ProblemKind::UnknownItem,
                    "One of them no longer exists.",
                )));
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    let [a, b] = both.as_slice() else {
        return Ok(Err(Problem::new(
            ProblemKind::UnknownItem,
            "One of them does not exist.",
        )));
    };
    let query = compare::query(a.id.as_str(), b.id.as_str());
    let why = ask
        .ask::<SimilarAnswer>(Method::POST, &at(domain, "/similar"), Some(query))
        .await?;
    Ok(Ok(page(compare::page(&visit.frame, a, b, &why))))
}

async fn of_text<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = match ask.get::<DomainAnswer>(&at(domain, "")).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let (text_typed, asked) = (Text::of(fields), ConditionsForm::of(fields));
    let similar = if text_typed.is_empty() {
        None
    } else {
        let body = text_typed.query(&asked, true);
        Some(
            ask.ask::<SimilarAnswer>(Method::POST, &at(domain, "/similar"), Some(body))
                .await?,
        )
    };
    Ok(Ok(page(text::page(
        &visit.frame,
        &told,
        &text_typed,
        similar.as_ref(),
        &asked,
    ))))
}

async fn of_map<B: MessageBody + 'static>(visit: &Visit, domain: &str, ask: &mut Ask<B>) -> Made {
    let told = match ask.get::<DomainAnswer>(&at(domain, "")).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let drawn = ask.get::<MapAnswer>(&at(domain, "/map")).await?;
    Ok(Ok(page(map::page(&visit.frame, &told, &drawn))))
}

async fn of_experiments<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = match ask.get::<DomainAnswer>(&at(domain, "")).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let all = match ask
        .get::<ExperimentsAnswer>(&at(domain, "/experiments"))
        .await?
    {
        Ok(all) => all.experiments,
        Err(problem) => return Ok(Err(problem)),
    };
    let shown = match experiments::chosen(&all, value(fields, "name")) {
        Some(line) => {
            let path = at(domain, &format!("/experiments/{}", encoded(&line.name)));
            Some(ask.get::<ExperimentAnswer>(&path).await?)
        }
        None => None,
    };
    let view = experiments::page(&visit.frame, &told, &all, shown.as_ref());
    Ok(Ok(page(view)))
}

async fn of_settings<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = ask.get::<DomainAnswer>(&at(domain, "")).await?;
    let is_saved = !value(fields, "set").is_empty();
    Ok(told.map(|told| {
        page(settings::page(
            &visit.frame,
            &told,
            &Typed::of(&told),
            None,
            is_saved,
        ))
    }))
}

async fn set<B: MessageBody + 'static>(
    visit: &Visit,
    domain: &str,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let told = match ask.get::<DomainAnswer>(&at(domain, "")).await? {
        Ok(told) => told,
        Err(problem) => return Ok(Err(problem)),
    };
    let typed = Typed::of_form(fields);
    let failed = match ask
        .ask::<DomainAnswer>(Method::PUT, &at(domain, ""), Some(typed.body(&told)))
        .await?
    {
        Ok(_) => {
            return Ok(Ok(Shown::Elsewhere(
                format!("/domains/{domain}/settings?set=1"),
                None,
            )));
        }
        Err(problem) => problem,
    };
    let status = StatusCode::from_u16(failed.status).unwrap_or(StatusCode::BAD_REQUEST);
    Ok(Ok(Shown::Page(
        status,
        settings::page(&visit.frame, &told, &typed, Some(&failed), false),
    )))
}

async fn of_keys<B: MessageBody + 'static>(
    visit: &Visit,
    fields: &Fields,
    ask: &mut Ask<B>,
) -> Made {
    let revoked = value(fields, "revoke");
    let done = if !visit.is_sent {
        keys::Done::Nothing
    } else if revoked.is_empty() {
        let grants: Vec<&str> = value(fields, "grants")
            .split([',', '\n'])
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .collect();
        let mut body = json!({ "grants": grants });
        let expires = value(fields, "expires").trim();
        if !expires.is_empty() {
            body["expires"] = expires.into();
        }
        match ask
            .ask::<CreatedKey>(Method::POST, path::KEYS, Some(body.to_string()))
            .await?
        {
            Ok(key) => keys::Done::Created(key),
            Err(problem) => keys::Done::Failed(problem),
        }
    } else {
        match ask
            .ask::<()>(Method::DELETE, &path::key(revoked), None)
            .await?
        {
            Ok(()) => keys::Done::Revoked,
            Err(problem) => keys::Done::Failed(problem),
        }
    };
    let told = ask
        .get::<KeysAnswer>(path::KEYS)
        .await?
        .map(|told| told.keys);
    if let (Err(problem), Who::Nobody) = (&told, &visit.frame.who) {
        return Ok(Err(problem.clone()));
    }
    let status = match &done {
        keys::Done::Failed(problem) => problem.status,
        keys::Done::Nothing | keys::Done::Created(_) | keys::Done::Revoked => match &told {
            Err(problem) if problem.status == 403 => 403,
            _ => 200,
        },
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Ok(Ok(Shown::Page(
        status,
        keys::page(&visit.frame, &told, &done),
    )))
}
