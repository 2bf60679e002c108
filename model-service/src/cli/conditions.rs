//! Query conditions as flags, named as in URLs.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::exit::CommandError;
use super::filters::FilterArgs;

/// Which items count, and in which order. A filter given more than once matches any of its values.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct ConditionArgs {
    /// Number of results, 1 to 1000 [default: 10]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Leave out results with a lower score
    #[arg(long, value_name = "SCORE")]
    min_score: Option<String>,
    /// Leave out this item
    #[arg(long, value_name = "ID")]
    exclude: Vec<String>,
    #[command(flatten)]
    filters: FilterArgs,
    /// A filter as JSON: {"all":[…],"any":[…],"none":[…]}; `none` turns the domain's default filter
    /// off
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Halve a score for every such span of age, such as 7d
    #[arg(long, value_name = "DURATION")]
    half_life: Option<String>,
    /// Rank items that are close to everything lower
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    balance: Option<bool>,
    /// Keep one result of each set of near-duplicates (near) or of each group (group)
    #[arg(long, value_name = "WHAT")]
    collapse: Option<String>,
    /// How much results are to differ from each other, 0 to 1
    #[arg(long, value_name = "SHARE")]
    diversity: Option<String>,
    /// Explain every result
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    explain: Option<bool>,
    /// Fill up a short answer with newest or random items
    #[arg(long, value_name = "WHAT")]
    fallback: Option<String>,
}

impl ConditionArgs {
    /// Whether there is a condition that only JSON can express.
    pub(crate) fn are_json(&self) -> bool {
        self.filter
            .as_deref()
            .is_some_and(|filter| filter != "none")
    }

    /// As the query string of a URL, with its question mark; empty without any condition.
    ///
    /// # Errors
    /// When an attribute is not `NAME=VALUE`.
    pub(crate) fn parameters(&self) -> Result<String, CommandError> {
        let mut query = String::new();
        let mut say = |name: &str, value: &str| {
            let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{}={}", encoded(name), encoded(value)));
        };
        for (name, value) in self.single() {
            say(name, &value);
        }
        for id in &self.exclude {
            say("exclude", id);
        }
        for (name, value) in self.filters.parameters()? {
            say(&name, value);
        }
        Ok(query)
    }

    /// As members of a JSON query.
    ///
    /// # Errors
    /// When an attribute is not `NAME=VALUE`, or the filter is not JSON or given twice.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, CommandError> {
        let mut query = Map::new();
        for (name, value) in self.single() {
            if name != "filter" {
                // What is not a JSON number or word is a string; the service reports what is wrong
                // with it.
                let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
                query.insert(name.to_owned(), value);
            }
        }
        if !self.exclude.is_empty() {
            query.insert("exclude".to_owned(), json!(self.exclude));
        }
        let filter = match (&self.filter, self.filters.json()?) {
            (Some(_), Some(_)) => {
                let detail = "--filter is the whole filter: it cannot be combined with the other \
                    filter flags";
                return Err(CommandError::usage(detail.to_owned()));
            }
            (Some(filter), None) if filter == "none" => json!("none"),
            (Some(filter), None) => serde_json::from_str(filter)
                .map_err(|error| CommandError::usage(format!("--filter is not JSON: {error}")))?,
            (None, Some(filter)) => filter,
            (None, None) => return Ok(query),
        };
        query.insert("filter".to_owned(), filter);
        Ok(query)
    }

    /// Flags that may be given once.
    fn single(&self) -> Vec<(&'static str, String)> {
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let all = [
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("min_score", self.min_score.clone()),
            ("filter", self.filter.clone()),
            ("half_life", self.half_life.clone()),
            ("balance", flag(self.balance)),
            ("collapse", self.collapse.clone()),
            ("diversity", self.diversity.clone()),
            ("explain", flag(self.explain)),
            ("fallback", self.fallback.clone()),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        conditions: ConditionArgs,
    }

    fn given(flags: &[&str]) -> ConditionArgs {
        let all = std::iter::once(&"kindred").chain(flags);
        Only::try_parse_from(all).unwrap().conditions
    }

    #[test]
    fn flags_are_parameters_or_json_alike() {
        let flags = [
            "--limit",
            "3",
            "--min-score",
            "0.5",
            "--exclude",
            "a&b",
            "--exclude",
            "c",
            "--category",
            "rail",
            "--category",
            "slow",
            "--not-group",
            "x y",
            "--attribute",
            "author=A=B",
            "--published-after",
            "2026-11-20T09:00:00+01:00",
            "--half-life",
            "7d",
            "--explain",
            "--collapse",
            "near",
            "--diversity",
            "0.3",
        ];
        let conditions = given(&flags);
        assert_eq!(
            conditions.parameters().unwrap(),
            "?limit=3&min%5Fscore=0%2E5&half%5Flife=7d&collapse=near&diversity=0%2E3&explain=true\
             &exclude=a%26b&exclude=c&published%5Fafter=2026%2D11%2D20T09%3A00%3A00%2B01%3A00\
             &category=rail&category=slow&not%5Fgroup=x%20y&attribute%2Eauthor=A%3DB"
        );
        assert_eq!(
            Value::Object(conditions.json().unwrap()),
            json!({
                "limit": 3, "min_score": 0.5, "exclude": ["a&b", "c"], "half_life": "7d", "explain": true,
                "collapse": "near", "diversity": 0.3,
                "filter": {
                    "all": [
                        {"field": "published_at", "after": "2026-11-20T09:00:00+01:00", "before": null},
                        {"field": "categories", "in": ["rail", "slow"]},
                        {"field": "attributes.author", "in": ["A=B"]},
                    ],
                    "none": [{"field": "group", "in": ["x y"]}],
                }
            })
        );
        assert_eq!(given(&[]).parameters().unwrap(), "");
        assert_eq!(given(&[]).json().unwrap(), Map::new());
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert!(given(&["--attribute", "author"]).parameters().is_err());
        assert!(given(&["--attribute", "=b"]).json().is_err());
        assert!(given(&["--filter", "{"]).json().is_err());
        assert!(given(&["--filter", "{}", "--group", "a"]).json().is_err());
        assert!(given(&["--filter", "{}"]).are_json());
        assert_eq!(
            given(&["--filter", "none"]).parameters().unwrap(),
            "?filter=none"
        );
    }
}
