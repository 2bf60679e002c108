//! Queries: what is similar to several items, to a text or to a vector; many queries at once; and
//! scores of pairs.

use std::collections::BTreeSet;
use std::fmt;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, post};
use kindred_api::problem::ProblemKind;
use kindred_api::similar::{AnswerBatch, Pairs, Query, QueryBatch, Scores, SimilarAnswer};
use kindred_shared::event::{Limits, without_mark};
use kindred_shared::{DomainName, ModelName};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa_actix_web::service_config::ServiceConfig;

use super::asking::{Answered, Here, QueryTarget, answer, loaded, place, scores};
use super::body::{Body, too_large};
use super::error::Error;
use super::openapi;
use super::parts::{Part, Queries, Reads};
use super::path::{InDomain, InPath};
use super::query::unknown;
use super::question::{QueryRequest, model, no_object, object};
use super::values::{invalid, only};

/// Most queries per batch.
const MOST_QUERIES: usize = 100;
/// Most pairs per request.
const MOST_PAIRS: usize = 1_000;
/// How many times larger than a query a batch may be.
const BATCH_TIMES: usize = 16;
/// When to retry for a list that is being made, in seconds.
const RETRY_S: &str = "1";
/// When to retry for a model that is being loaded, in seconds.
const RETRY_LOAD_S: u32 = 2;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(ask).service(ask_many).service(score_pairs);
}

/// An answer with status 200; one that had nothing to compare with says when to retry.
pub(super) fn respond(answered: Answered) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    if !answered.is_listed {
        response.insert_header((RETRY_AFTER, HeaderValue::from_static(RETRY_S)));
    }
    response.body(answered.body)
}

/// What is similar to items, a text or a vector.
///
/// A text is read like those of the domain's items. Results are exact: no item that is left out
/// ranks above one in the answer. A sleeping domain is woken, which may take up to 5 s, else the
/// answer is 503.
#[utoipa::path(operation_id = "query", tag = "items", params(InDomain),
    request_body(content = Query, content_type = "application/json",
        example = json!({"title": "Night trains return", "text": "From spring on, sleepers run again.", "limit": 5,
            "filter": {"none": [{"field": "group", "in": ["archive"]}]}, "half_life": "30d", "fallback": "newest"})),
    responses(
        (status = 200, description = "What is similar, best first.", body = SimilarAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 429, response = openapi::Busy),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/similar")]
async fn ask(
    path: InPath<InDomain>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let body = body.read_whole(queries.limits.message_bytes).await?;
    let asked = QueryRequest::of_json(&object(&body)?, &queries.limits)?;
    let model = asked.model.as_ref();
    match place(&reads, &queries, &request, &domain, model, Some(&body)).await? {
        QueryTarget::There(response) => Ok(response),
        QueryTarget::Here(here) => {
            let answered = answer(&reads, &queries, &domain, &here, asked).await?;
            Ok(respond(answered))
        }
    }
}

/// Many queries at once, all at the same moment.
///
/// Each gets the answer or the problem that it would get alone.
#[utoipa::path(operation_id = "query_batch", tag = "items", params(InDomain),
    request_body(content = QueryBatch, content_type = "application/json",
        example = json!({"queries": [{"items": [{"id": "a-17"}], "limit": 3}, {"text": "night trains"}]})),
    responses(
        (status = 200, description = "The answers, in the order of the queries.", body = AnswerBatch),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/similar:batch")]
async fn ask_many(
    path: InPath<InDomain>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let body = body
        .read_whole(BATCH_TIMES * queries.limits.message_bytes)
        .await?;
    let all = batched(&body)?;
    let here = match place(&reads, &queries, &request, &domain, None, Some(&body)).await? {
        QueryTarget::There(response) => return Ok(response),
        QueryTarget::Here(here) => here,
    };
    let mut answers = Vec::with_capacity(all.len());
    let mut unloaded = BTreeSet::new();
    for (at, one) in all.iter().enumerate() {
        let answered = match read_one(at, one.get(), &queries.limits) {
            Ok(asked) => {
                match here_of(&reads, &queries, &domain, &here, &asked, &mut unloaded).await {
                    Ok(here) => answer(&reads, &queries, &domain, &here, asked).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        answers.push(raw(answered));
    }
    Ok(HttpResponse::Ok().json(serde_json::json!({ "answers": answers })))
}

/// The queries of a batch, unparsed: each is parsed when it is its turn, so that there is never more than one parsed
/// query in memory.
fn batched(body: &[u8]) -> Result<Vec<&RawValue>, Error> {
    const NAME: &str = "queries";
    let Batched { queries, other } =
        serde_json::from_slice(without_mark(body)).map_err(|error| no_object(&error))?;
    if let Some(other) = other {
        return Err(unknown("field", &other, &[NAME]));
    }
    let listed = queries.and_then(|queries| serde_json::from_str(queries.get()).ok());
    match listed {
        Some(Listed(queries)) if !queries.is_empty() => Ok(queries),
        _ => Err(invalid(
            NAME,
            format!("{NAME} is a list of 1 to {MOST_QUERIES}."),
        )),
    }
}

/// One query of a batch.
fn read_one(at: usize, query: &str, limits: &Limits) -> Result<QueryRequest, Error> {
    let place = format!("queries[{at}]");
    if query.len() > limits.message_bytes {
        return Err(too_large(limits.message_bytes as u64).field(place));
    }
    if !query.starts_with('{') {
        let detail = format!("{place} is an object: a query.");
        return Err(invalid(place, detail));
    }
    QueryRequest::of_json(&object(query.as_bytes())?, limits)
}

/// The object of a batch.
struct Batched<'a> {
    queries: Option<&'a RawValue>,
    /// A field that it should not have.
    other: Option<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Batched<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QueryVisitor;
        impl<'de> Visitor<'de> for QueryVisitor {
            type Value = Batched<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut queries, mut other) = (None, None);
                while let Some(name) = map.next_key::<String>()? {
                    let value: &'de RawValue = map.next_value()?;
                    if name == "queries" {
                        queries = Some(value);
                    } else {
                        other.get_or_insert(name);
                    }
                }
                Ok(Batched { queries, other })
            }
        }
        deserializer.deserialize_map(QueryVisitor)
    }
}

/// At most [`MOST_QUERIES`] values; anything after them is not read.
struct Listed<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Listed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QueryVisitor;
        impl<'de> Visitor<'de> for QueryVisitor {
            type Value = Listed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MOST_QUERIES} queries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut queries = Vec::new();
                while let Some(query) = list.next_element()? {
                    if queries.len() == MOST_QUERIES {
                        return Err(A::Error::invalid_length(MOST_QUERIES + 1, &self));
                    }
                    queries.push(query);
                }
                Ok(Listed(queries))
            }
        }
        deserializer.deserialize_seq(QueryVisitor)
    }
}

/// Where one query of a batch is answered: by the model that it names, otherwise like the others.
async fn here_of(
    reads: &Reads,
    queries: &Queries,
    domain: &DomainName,
    here: &Here,
    asked: &QueryRequest,
    unloaded: &mut BTreeSet<ModelName>,
) -> Result<Here, Error> {
    let is_other = |name: &&ModelName| here.snapshot.name() != Some(*name);
    let Some(name) = asked.model.as_ref().filter(is_other) else {
        return Ok(here.clone());
    };

    if let Some(here) = Here::of_model(reads, domain, Some(name)).filter(Here::is_registered) {
        return Ok(here);
    }
    if unloaded.contains(name) {
        let detail = format!("{name} is being loaded. Try again.");
        return Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_LOAD_S));
    }
    let loaded = loaded(reads, queries, domain, Some(name)).await;
    if loaded.is_err() {
        unloaded.insert(name.clone());
    }
    loaded
}

/// A serialised answer or problem.
fn raw(answered: Result<Answered, Error>) -> Box<RawValue> {
    let text = match answered {
        Ok(answered) => String::from_utf8(answered.body).unwrap_or_default(),
        Err(error) => serde_json::to_string(error.problem()).unwrap_or_default(),
    };
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The scores of pairs of items.
#[utoipa::path(operation_id = "scores", tag = "items", params(InDomain),
    request_body(content = Pairs, content_type = "application/json",
        example = json!({"pairs": [["a-17", "a-9"]]})),
    responses(
        (status = 200, description = "The scores, in the order of the pairs.", body = Scores),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 429, response = openapi::Busy),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/scores")]
async fn score_pairs(
    path: InPath<InDomain>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let body = body.read_whole(queries.limits.message_bytes).await?;
    let mut object = object(&body)?;
    only(&object, &["pairs", "model"])?;
    let by = match object.remove("model") {
        None => None,
        Some(Value::String(name)) => Some(model(&name)?),
        Some(_) => return Err(invalid("model", "model is the name of a model.")),
    };
    let mut pairs = Vec::new();
    for (at, pair) in listed_pairs(object)?.into_iter().enumerate() {
        pairs.push(serde_json::from_value::<[String; 2]>(pair).map_err(|_| {
            let place = format!("pairs[{at}]");
            let detail = format!("{place} is a list of two ids, each a string.");
            invalid(place, detail)
        })?);
    }
    match place(
        &reads,
        &queries,
        &request,
        &domain,
        by.as_ref(),
        Some(&body),
    )
    .await?
    {
        QueryTarget::There(response) => Ok(response),
        QueryTarget::Here(here) => {
            let scores = scores(&reads, &queries, &here, pairs).await?;
            Ok(HttpResponse::Ok().json(Scores { scores }))
        }
    }
}

/// The list that is the only field of a body's object.
fn listed_pairs(mut object: Map<String, Value>) -> Result<Vec<Value>, Error> {
    const NAME: &str = "pairs";
    only(&object, &[NAME])?;
    match object.remove(NAME) {
        Some(Value::Array(list)) if (1..=MOST_PAIRS).contains(&list.len()) => Ok(list),
        _ => Err(invalid(
            NAME,
            format!("{NAME} is a list of 1 to {MOST_PAIRS}."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn queries_of_a_batch_are_read_one_by_one() {
        let listed = |body: &str| -> Vec<String> {
            let all = batched(body.as_bytes()).expect("queries").into_iter();
            all.map(|one| one.get().to_owned()).collect()
        };
        assert_eq!(
            listed("\u{feff}{\"queries\": [ {\"a\" :1},[], 2 ]}"),
            ["{\"a\" :1}", "[]", "2"]
        );
        assert_eq!(listed(r#"{"queries":7,"queries":[1]}"#), ["1"]);
        let most = |count: usize| format!(r#"{{"queries":[{}1]}}"#, "1,".repeat(count - 1));
        assert_eq!(listed(&most(MOST_QUERIES)).len(), MOST_QUERIES);
        for (body, word) in [
            (most(MOST_QUERIES + 1), "invalid-parameter"),
            (r#"{"queries":[]}"#.to_owned(), "invalid-parameter"),
            (r#"{"queries":{}}"#.to_owned(), "invalid-parameter"),
            ("{}".to_owned(), "invalid-parameter"),
            (
                r#"{"queries":[1],"query":[]}"#.to_owned(),
                "unknown-parameter",
            ),
            (r#"[{"queries":[1]}]"#.to_owned(), "invalid-json"),
            (r#"{"queries":[1}"#.to_owned(), "invalid-json"),
        ] {
            let error = batched(body.as_bytes()).expect_err(&body);
            assert_eq!(
                (error.status_code().as_u16(), error.problem().word()),
                (400, word)
            );
        }
    }

    #[test]
    fn one_query_of_a_batch_may_be_as_long_as_one_alone() {
        let limits = Limits {
            message_bytes: 100,
            ..Limits::default()
        };
        let query = |spaces: usize| format!(r#"{{"text":"t"{}}}"#, " ".repeat(spaces));
        assert!(read_one(0, &query(100 - query(0).len()), &limits).is_ok());
        let long = read_one(3, &query(100), &limits).expect_err("too long");
        assert_eq!(long.problem().word(), "too-large");
        assert_eq!(long.problem().field.as_deref(), Some("queries[3]"));
        let list = read_one(3, "[]", &limits).expect_err("no object");
        assert_eq!(list.problem().field.as_deref(), Some("queries[3]"));
    }
}
