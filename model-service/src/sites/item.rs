//! An item as found in a source.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use kindred_shared::event::{MAX_ADDRESS_BYTES, MAX_CATEGORIES, MAX_LABEL_BYTES};
use serde::{Serialize, Serializer};

/// An item in the fields of its event, without `type` and `domain`. Empty fields are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Item {
    /// Its id.
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// HTML or plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) categories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    pub(crate) published_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    pub(crate) publish_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    pub(crate) expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hidden: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    /// The type of its event, if given in a table.
    #[serde(skip)]
    pub(crate) kind: Option<String>,
    /// Its domain, if given in a table.
    #[serde(skip)]
    pub(crate) domain: Option<String>,
}

fn time<S: Serializer>(at: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to.serialize_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        None => to.serialize_none(),
    }
}

impl Item {
    /// Drops or cuts fields that an event may not have, so that the rest is accepted; returns
    /// whether its text was cut.
    pub(super) fn fit(&mut self, max_text: usize) -> bool {
        let is_long = |text: &mut String, most: usize| text.len() > most;
        self.url = self.url.take_if(|url| !is_long(url, MAX_ADDRESS_BYTES));
        self.image = self
            .image
            .take_if(|image| !is_long(image, MAX_ADDRESS_BYTES));
        self.group = self.group.take_if(|group| !is_long(group, MAX_LABEL_BYTES));
        self.categories
            .retain(|category| category.len() <= MAX_LABEL_BYTES);
        self.categories.truncate(MAX_CATEGORIES);
        match &mut self.text {
            Some(text) if text.len() > max_text => {
                text.truncate(text.floor_char_boundary(max_text));
                true
            }
            _ => false,
        }
    }

    /// The event for a domain, as one line of JSON.
    pub(crate) fn event(&self, domain: &str) -> String {
        #[derive(Serialize)]
        struct Event<'a> {
            r#type: &'a str,
            domain: &'a str,
            #[serde(flatten)]
            item: &'a Item,
        }
        let event = Event {
            r#type: self.kind.as_deref().unwrap_or("item.updated"),
            domain,
            item: self,
        };
        serde_json::to_string(&event).expect("texts and times are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_left_out_or_cut() {
        let mut item = Item {
            id: "a".to_owned(),
            text: Some("ééé".to_owned()),
            url: Some("x".repeat(MAX_ADDRESS_BYTES + 1)),
            image: Some("x".repeat(MAX_ADDRESS_BYTES)),
            group: Some("x".repeat(MAX_LABEL_BYTES + 1)),
            categories: (0..70)
                .map(|n| {
                    if n == 0 {
                        "x".repeat(300)
                    } else {
                        n.to_string()
                    }
                })
                .collect(),
            ..Item::default()
        };
        assert!(item.fit(5));
        assert_eq!(item.text.as_deref(), Some("éé"));
        assert_eq!((&item.url, &item.group), (&None, &None));
        assert!(item.image.is_some());
        assert_eq!(item.categories.len(), MAX_CATEGORIES);
        assert_eq!(item.categories[0], "1");
        assert!(!item.fit(5));
    }

    #[test]
    fn an_event_is_one_line_without_what_has_no_value() {
        let item = Item {
            id: "a/b".to_owned(),
            title: Some("A\nB".to_owned()),
            published_at: DateTime::from_timestamp(1_700_000_000, 0),
            ..Item::default()
        };
        assert_eq!(
            item.event("d"),
            r#"{"type":"item.updated","domain":"d","id":"a/b","title":"A\nB","published_at":"2023-11-14T22:13:20Z"}"#
        );
    }
}
