//! Conditions of queries, as parameters and as JSON: parsed strictly, and merged over the domain's
//! defaults.

use std::collections::BTreeSet;
use std::time::Duration;

use kindred_query::conditions::{MOST_ANSWERS, MOST_CAREFUL, MOST_EXCLUDED, USUAL_ANSWERS};
use kindred_query::{Collapse, Conditions, Fallback, Filter};
use serde_json::{Map, Value};

use super::error::Error;
use super::filter;
use super::filter_parameters::FilterParameters;
use super::query::Given;
use super::values::invalid;

/// The JSON names of conditions.
pub(crate) const NAMES: [&str; 10] = [
    "limit",
    "min_score",
    "exclude",
    "filter",
    "half_life",
    "balance",
    "collapse",
    "diversity",
    "explain",
    "fallback",
];

/// The value that turns off a domain's default condition.
const NONE: &str = "none";

/// Longest half-life: a thousand years.
const LONGEST: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);

/// The conditions given in a query or in the settings of a domain.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Wanted {
    limit: Said<usize>,
    min_score: Said<f32>,
    exclude: Said<BTreeSet<Box<str>>>,
    filter: Said<Filter>,
    half_life: Said<Duration>,
    balance: Said<()>,
    collapse: Said<Collapse>,
    diversity: Said<f64>,
    explain: Said<()>,
    fallback: Said<FallbackKind>,
}

/// What is given for one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Said<T> {
    /// Not given.
    #[default]
    Nothing,
    /// Turned off, whatever the domain's default is.
    None,
    /// This value.
    This(T),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FallbackKind {
    Newest,
    Random,
}

impl<T> Said<T> {
    fn over(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            said => said,
        }
    }

    fn is_this(&self) -> bool {
        matches!(self, Self::This(_))
    }

    fn this(self) -> Option<T> {
        match self {
            Self::This(this) => Some(this),
            Self::Nothing | Self::None => None,
        }
    }
}

impl Wanted {
    /// The conditions of a query merged over the domain's defaults. A default gives way to a
    /// condition that excludes it.
    ///
    /// # Errors
    /// 400 when conditions contradict each other.
    pub(crate) fn over(self, mut set: Self, seed: u64) -> Result<Conditions, Error> {
        if self.half_life.is_this() && self.balance.is_this() {
            let detail = "balance and half_life order by different values: leave one of them out.";
            return Err(invalid("balance", detail));
        }
        if self.half_life.is_this() {
            set.balance = Said::None;
        }
        if self.balance.is_this() {
            set.half_life = Said::None;
        }
        if matches!(self.limit, Said::This(limit) if limit > MOST_CAREFUL) {
            set.diversity = Said::None;
            set.explain = Said::None;
        }
        let conditions = Conditions {
            limit: self.limit.over(set.limit).this().unwrap_or(USUAL_ANSWERS),
            min_score: self.min_score.over(set.min_score).this(),
            exclude: self.exclude.over(set.exclude).this().unwrap_or_default(),
            filter: self.filter.over(set.filter).this().unwrap_or_default(),
            half_life: self.half_life.over(set.half_life).this(),
            balance: self.balance.over(set.balance).is_this(),
            collapse: self.collapse.over(set.collapse).this(),
            diversity: self.diversity.over(set.diversity).this(),
            explain: self.explain.over(set.explain).is_this(),
            fallback: (self.fallback.over(set.fallback).this()).map(|kind| match kind {
                FallbackKind::Newest => Fallback::Newest,
                FallbackKind::Random => Fallback::Random { seed },
            }),
        };
        let careful = [
            ("diversity", conditions.diversity.is_some()),
            ("explain", conditions.explain),
        ];
        let is_careful = careful.into_iter().find(|(_, is_so)| *is_so);
        if let Some((name, _)) = is_careful.filter(|_| conditions.limit > MOST_CAREFUL) {
            let detail = format!("With {name}, limit is at most {MOST_CAREFUL}.");
            return Err(invalid("limit", detail));
        }
        if conditions.half_life.is_some() && conditions.balance {
            let detail = "The domain's defaults have both balance and half_life: turn one of \
                them off.";
            return Err(invalid("balance", detail));
        }
        Ok(conditions)
    }

    /// The limit, if nothing else is given.
    pub(crate) fn only_limit(&self) -> Option<usize> {
        let rest = Self {
            limit: Said::Nothing,
            ..self.clone()
        };
        let limit = match self.limit {
            Said::This(limit) => limit,
            Said::Nothing | Said::None => USUAL_ANSWERS,
        };
        (rest == Self::default()).then_some(limit)
    }

    /// Parses the parameters of a query.
    ///
    /// # Errors
    /// 400, naming the parameter and its allowed values.
    pub(crate) fn of_parameters(given: &Given) -> Result<Self, Error> {
        let mut wanted = Self::default();
        let mut filter = FilterParameters::default();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut exclude: BTreeSet<Box<str>> = BTreeSet::new();
        for (name, value) in given.pairs() {
            if filter.take(name, value)? {
                continue;
            }
            if name == "exclude" {
                exclude.insert(value.into());
                continue;
            }
            if !seen.insert(name) {
                return Err(invalid(name, format!("{name} may be given only once.")));
            }
            match name {
                "model" => {}
                "filter" if value == NONE => wanted.filter = Said::None,
                _ => wanted.read(name, &of_text(name, value))?,
            }
        }
        if !exclude.is_empty() {
            check_excluded(exclude.len())?;
            wanted.exclude = Said::This(exclude);
        }
        let filter = filter.filter()?;
        if !filter.is_empty() {
            wanted.filter = Said::This(filter);
        }
        Ok(wanted)
    }

    /// Parses the conditions of a JSON object, ignoring other members.
    ///
    /// # Errors
    /// 400, naming the condition and its allowed values.
    pub(crate) fn of_json(object: &Map<String, Value>) -> Result<Self, Error> {
        let mut wanted = Self::default();
        for (name, value) in object {
            if NAMES.contains(&name.as_str()) {
                wanted.read(name, value)?;
            }
        }
        Ok(wanted)
    }

    /// One condition.
    fn read(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let is_off = match value {
            // As everywhere: the same as leaving it out.
            Value::Null => return Ok(()),
            Value::Bool(false) => true,
            Value::String(word) => word == NONE,
            _ => false,
        };
        match name {
            "limit" => self.limit = Said::This(limit(value)?),
            "min_score" => self.min_score = said(is_off, || score(name, value))?,
            "exclude" => self.exclude = said(is_off, || excluded(value))?,
            "filter" => self.filter = said(is_off, || filter::of_json(value))?,
            "half_life" => self.half_life = said(is_off, || half_life(value))?,
            "balance" => self.balance = said(is_off, || is_true(name, value))?,
            "collapse" => self.collapse = said(is_off, || collapse(value))?,
            "diversity" => self.diversity = said(is_off, || share(name, value))?,
            "explain" => self.explain = said(is_off, || is_true(name, value))?,
            "fallback" => self.fallback = said(is_off, || fallback(value))?,
            _ => {}
        }
        Ok(())
    }
}

fn said<T>(is_off: bool, read: impl FnOnce() -> Result<T, Error>) -> Result<Said<T>, Error> {
    if is_off {
        return Ok(Said::None);
    }
    read().map(Said::This)
}

/// A parameter's text as a JSON value.
fn of_text(name: &str, value: &str) -> Value {
    match name {
        "balance" | "explain" if value == "true" => Value::Bool(true),
        "balance" | "explain" if value == "false" => Value::Bool(false),
        // `parse` accepts more than JSON numbers: infinity, a leading plus. JSON accepts
        // surrounding white space.
        "limit" | "min_score" | "diversity" => serde_json::from_str(value)
            .ok()
            .filter(|number: &Value| number.is_number() && !value.contains(char::is_whitespace))
            .unwrap_or_else(|| Value::String(value.to_owned())),
        _ => Value::String(value.to_owned()),
    }
}

fn limit(value: &Value) -> Result<usize, Error> {
    let number = value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    number
        .filter(|limit| (1..=MOST_ANSWERS).contains(limit))
        .ok_or_else(|| {
            let detail = format!(
                "limit is an integer from 1 to {MOST_ANSWERS}; the default is {USUAL_ANSWERS}."
            );
            invalid("limit", detail)
        })
}

fn score(name: &str, value: &Value) -> Result<f32, Error> {
    share(name, value).map(|score| score as f32)
}

/// A number from 0 to 1.
fn share(name: &str, value: &Value) -> Result<f64, Error> {
    let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| invalid(name, format!("{name} is a number from 0 to 1, or none.")))
}

fn is_true(name: &str, value: &Value) -> Result<(), Error> {
    match value {
        Value::Bool(true) => Ok(()),
        _ => Err(invalid(name, format!("{name} is true or false."))),
    }
}

fn half_life(value: &Value) -> Result<Duration, Error> {
    let length = value
        .as_str()
        .and_then(|text| humantime::parse_duration(text).ok());
    let length = length.filter(|length| (Duration::from_millis(1)..=LONGEST).contains(length));
    length.ok_or_else(|| {
        invalid(
            "half_life",
            "half_life is a duration such as 7d, 12h or 30m, from 1ms to a thousand years, or none.",
        )
    })
}

fn collapse(value: &Value) -> Result<Collapse, Error> {
    match value.as_str() {
        Some("near") => Ok(Collapse::Near),
        Some("group") => Ok(Collapse::Group),
        _ => Err(invalid("collapse", "collapse is near, group or none.")),
    }
}

fn fallback(value: &Value) -> Result<FallbackKind, Error> {
    match value.as_str() {
        Some("newest") => Ok(FallbackKind::Newest),
        Some("random") => Ok(FallbackKind::Random),
        _ => Err(invalid("fallback", "fallback is newest, random or none.")),
    }
}

fn excluded(value: &Value) -> Result<BTreeSet<Box<str>>, Error> {
    let ids = value.as_array().and_then(|ids| {
        let ids = ids.iter().map(|id| id.as_str().map(Into::into));
        ids.collect::<Option<BTreeSet<Box<str>>>>()
    });
    let ids = ids.ok_or_else(|| invalid("exclude", "exclude is a list of ids, each a string."))?;
    check_excluded(ids.len())?;
    Ok(ids)
}

fn check_excluded(count: usize) -> Result<(), Error> {
    if count > MOST_EXCLUDED {
        let detail = format!("exclude has at most {MOST_EXCLUDED} ids; this one has {count}.");
        return Err(invalid("exclude", detail));
    }
    Ok(())
}
