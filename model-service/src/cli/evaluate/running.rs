//! A running domain: its items, and the lists that its models answer with.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kindred_api::domain::DomainAnswer;
use kindred_api::model::{ModelState, ModelsAnswer};
use kindred_api::path;
use kindred_shared::event::{Event, Limits, Upsert, parse};
use kindred_shared::{ItemId, ModelName};
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::exit::{CommandError, Exit};
use super::input::{Items, Judgement};
use super::systems::{ScoredItem, System};

/// Lines of an export requested at a time: 100 MiB with the longest texts.
const LINES: usize = 100;
/// Queries and pairs of a request.
const QUERIES: usize = 100;
const PAIRS: usize = 1_000;
/// Neighbours requested: as many as a stored list has.
const KEPT: usize = 50;
/// How long a busy or waking service is asked again, and how often.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(250);

/// A domain of a running service.
pub(super) struct Running<'a> {
    pub client: &'a Client,
    pub domain: &'a str,
}

/// Lists by the id of the item they are of.
type Lists = HashMap<ItemId, Vec<(ItemId, f32)>>;

impl Running<'_> {
    /// The models to compare: those named, or all that can be queried, the active one first.
    pub(super) fn models(&self, named: &[String]) -> Result<Vec<ModelName>, CommandError> {
        let answer = self.client.get_good(&path::models(self.domain))?;
        let mut all = self.client.read::<ModelsAnswer>(&answer)?.models;
        all.sort_by_key(|model| model.state != ModelState::Active);
        let can_be_asked = |state| matches!(state, ModelState::Active | ModelState::Ready);
        let ready = all.iter().filter(|model| can_be_asked(model.state));
        let ready: Vec<ModelName> = ready.map(|model| model.name.clone()).collect();
        if named.is_empty() {
            return Ok(ready);
        }
        let wanted = named.iter().map(|name| {
            let found = ready.iter().find(|ready| ready.as_str() == name);
            found.cloned().ok_or_else(|| {
                let state = all.iter().find(|model| model.name.as_str() == name);
                let state = state.map_or_else(
                    || "unknown".to_owned(),
                    |model| format!("still {}", model.state),
                );
                let names: Vec<&str> = ready.iter().map(ModelName::as_str).collect();
                let domain = self.domain;
                CommandError::new(
                    Exit::NotFound,
                    format!(
                        "--model {name}: {state} in {domain}; ready there: {}",
                        names.join(", ")
                    ),
                )
            })
        });
        wanted.collect()
    }

    /// The domain's items that readers see, and what each model's lists are.
    pub(super) fn read(
        &self,
        models: &[ModelName],
        limits: &Limits,
    ) -> Result<(Items, Vec<Lists>), CommandError> {
        let mut shown = self.exported(limits)?;
        let ids: Vec<ItemId> = shown.keys().cloned().collect();
        let lists = models.iter().map(|model| self.lists(model, &ids));
        let lists: Vec<Lists> = lists.collect::<Result<_, _>>()?;
        // What is scheduled or expired, or went meanwhile, is in no list either.
        shown.retain(|id, _| lists.iter().any(|lists| lists.contains_key(id)));
        Ok((Items::of(shown)?, lists))
    }

    /// A model with its lists, and with the scores of pairs that were judged.
    pub(super) fn system(
        &self,
        model: &ModelName,
        lists: &Lists,
        items: &Items,
        judged: &[Judgement],
    ) -> Result<System, CommandError> {
        let answers = |item: &Upsert| {
            let list = lists.get(&item.id).into_iter().flatten();
            let known = list.filter_map(|(id, score)| {
                let (item, score) = (items.number(id.as_str())?, *score);
                Some(ScoredItem { item, score })
            });
            known.collect()
        };
        Ok(System::answered(
            model.to_string(),
            items.all.iter().map(answers).collect(),
            self.scores(model, items, judged)?,
        ))
    }

    fn exported(&self, limits: &Limits) -> Result<BTreeMap<ItemId, Upsert>, CommandError> {
        // A domain that is not there is said so, rather than exported as empty.
        let answer = self.client.get_good(&path::domain(self.domain))?;
        let _: DomainAnswer = self.client.read(&answer)?;
        let (mut shown, mut after) = (BTreeMap::new(), None::<ItemId>);
        loop {
            let limit = LINES.to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(after.as_ref().map(|after| ("after", after.as_str())));
            let path = path::with_query(&path::export(self.domain), &query);
            let answer = self.client.get_good(&path)?;
            let text = answer.text();
            let mut lines = 0;
            for line in text.lines() {
                let event = parse(line.as_bytes(), limits);
                match event.map_err(|error| self.client.other(&error))? {
                    Event::Upsert(item) => {
                        after = Some(item.id.clone());
                        if !item.hidden {
                            shown.insert(item.id.clone(), *item);
                        }
                    }
                    _ => return Err(self.client.other(&"an event that is not an item")),
                }
                lines += 1;
            }
            if lines < LINES {
                return Ok(shown);
            }
        }
    }

    fn lists(&self, model: &ModelName, ids: &[ItemId]) -> Result<Lists, CommandError> {
        let mut lists = Lists::new();
        for ids in ids.chunks(QUERIES) {
            let query = |id: &ItemId| json!({"items": [{"id": id}], "model": model, "limit": KEPT});
            let queries: Vec<Value> = ids.iter().map(query).collect();
            let answers = self.ask("similar:batch", &json!({ "queries": queries }))?;
            let answers = answers["answers"].as_array().cloned().unwrap_or_default();
            if answers.len() != ids.len() {
                return Err(self
                    .client
                    .other(&"a different number of answers than queries"));
            }
            for (id, answer) in ids.iter().zip(answers) {
                let Some(similar) = answer["similar"].as_array() else {
                    match answer["type"].as_str() {
                        Some("/problems/unknown-item") => continue,
                        _ => return Err(CommandError::failed(words(&answer))),
                    }
                };
                let neighbour = |one: &Value| {
                    let id = ItemId::new(one["id"].as_str()?).ok()?;
                    Some((id, one["score"].as_f64()? as f32))
                };
                lists.insert(id.clone(), similar.iter().filter_map(neighbour).collect());
            }
        }
        Ok(lists)
    }

    fn scores(
        &self,
        model: &ModelName,
        items: &Items,
        judged: &[Judgement],
    ) -> Result<HashMap<(usize, usize), f64>, CommandError> {
        let mut scores = HashMap::new();
        for judged in judged.chunks(PAIRS) {
            let id = |item: usize| items.all[item].id.as_str();
            let pairs: Vec<[&str; 2]> = judged.iter().map(|one| [id(one.a), id(one.b)]).collect();
            let answer = self.ask("scores", &json!({"pairs": pairs, "model": model}))?;
            let found = answer["scores"].as_array().cloned().unwrap_or_default();
            if found.len() != judged.len() {
                return Err(self
                    .client
                    .other(&"a different number of scores than pairs"));
            }
            for (one, score) in judged.iter().zip(found) {
                // As the service has it: it writes the shortest decimal that reads back to the same bits.
                let score = score.as_f64().map_or(0.0, |score| score as f32);
                scores.insert((one.a, one.b), f64::from(score));
            }
        }
        Ok(scores)
    }

    /// Asks, and asks again while the service is busy or the domain is being loaded.
    fn ask(&self, what: &str, body: &Value) -> Result<Value, CommandError> {
        let path = format!("{}/{what}", path::domain(self.domain));
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.client.post_json(&path, body.to_string().as_bytes())?;
            let is_late = Instant::now() >= until;
            if matches!(answer.status, 429 | 503) && !is_late {
                std::thread::sleep(AGAIN);
                continue;
            }
            let answer: Value = self.client.read(&Client::good(answer)?)?;
            let answers = answer["answers"].as_array();
            let waits = |one: &Value| matches!(one["status"].as_u64(), Some(429 | 503));
            if answers.is_some_and(|answers| answers.iter().any(waits)) && !is_late {
                std::thread::sleep(AGAIN);
                continue;
            }
            return Ok(answer);
        }
    }
}

/// What a problem says.
fn words(problem: &Value) -> String {
    let of = |name: &str| problem[name].as_str().unwrap_or_default();
    match of("detail") {
        "" => of("title").to_owned(),
        detail => detail.to_owned(),
    }
}
