//! The event that changes a domain's models. Kindred's HTTP interface publishes it, so that it is ordered among the
//! domain's item events; publishers of items do not send it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::configure::{checked, nobody};
use crate::event::json::written_value;
use crate::event::{Limits, Refusal};
use crate::name::{DomainName, ModelName};

/// The event's type.
pub const MODELLED: &str = "domain.modelled";

/// The kind of a model whose features are vectors that items bring, as it is asked for.
pub const VECTORS: &str = "vectors";
/// The kind of a model that mixes others, as it is asked for.
pub const MIX: &str = "mix";
/// The kind of a model whose features a sentence encoder makes, as it is asked for.
pub const ONNX: &str = "onnx";
/// Most models that a mix mixes.
pub const MOST_MIXED: usize = 8;

/// The weight of a model in a mix: above 0, at most [`Weight::MOST`]. It is kept as `f32`, which is read back from JSON
/// exactly as it was written, so that a mix stays the same mix.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Weight(f32);

/// It is a number.
impl Eq for Weight {}

impl Weight {
    /// The highest one.
    pub const MOST: f64 = 1e6;

    /// A weight; `None`: the number is not one.
    pub fn new(weight: f64) -> Option<Self> {
        let rounded = weight as f32;
        (rounded > 0.0 && weight <= Self::MOST).then_some(Self(rounded))
    }

    /// The number, with as few digits as distinguish it.
    pub fn get(self) -> f64 {
        written_value(self.0)
    }
}

impl TryFrom<f64> for Weight {
    type Error = String;

    fn try_from(weight: f64) -> Result<Self, String> {
        Self::new(weight).ok_or_else(|| {
            format!(
                "a weight is above 0, and at most {}; got {weight}",
                Self::MOST
            )
        })
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> Self {
        weight.get()
    }
}

/// Builds, activates or deletes a model of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modelled {
    /// The domain.
    pub domain: DomainName,
    /// Names the request: 1 to 64 bytes. A repeated request takes effect once.
    pub request: String,
    /// The model.
    pub name: ModelName,
    /// The change.
    #[serde(flatten)]
    pub change: ModelChange,
    /// Who asked for it, as in [`Configure`](super::Configure).
    #[serde(default = "nobody")]
    pub by: String,
}

/// A change of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum ModelChange {
    /// Build it beside the active one.
    Put {
        /// How its features are made: the name of a model that the program knows, a kind of vectors, or [`MIX`].
        kind: ModelName,
        /// Of a mix: the models it mixes, and their weights.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        of: BTreeMap<ModelName, Weight>,
    },
    /// Make it the active one.
    Activate,
    /// Delete it with its lists.
    Delete,
}

impl Modelled {
    /// Parses an event that came with a routing key, which must be its domain.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Self, Refusal> {
        checked(bytes, limits, routing_key, |this: &Self| {
            (&this.domain, &this.request, &this.by)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, Reason};

    #[test]
    fn weights_are_above_zero_and_bounded() {
        for bad in [0.0, -0.0, -1.0, 1e-60, f64::NAN, f64::INFINITY, 1.1e6] {
            assert_eq!(Weight::new(bad), None, "{bad}");
        }
        for good in [0.7, 1e-30, 3.0, Weight::MOST] {
            assert_eq!(Weight::new(good).map(Weight::get), Some(good));
        }
    }

    proptest! {
        /// Readers of JSON may be off by a unit or two in the last place.
        #[test]
        fn a_weight_is_read_back_exactly(weight in prop_oneof![0.0_f64..1.0, 0.0_f64..=Weight::MOST], off in -2_i64..=2) {
            prop_assume!(weight > 1e-37);
            let weight = Weight::new(weight).unwrap();
            let written = serde_json::to_string(&weight).unwrap();
            prop_assert_eq!(serde_json::from_str::<Weight>(&written).unwrap(), weight);
            let bits = weight.get().to_bits().checked_add_signed(off);
            prop_assert_eq!(Weight::new(f64::from_bits(bits.unwrap()).min(Weight::MOST)), Some(weight));
        }
    }

    #[test]
    fn is_read_back_as_written_and_checked() {
        let name = |name| ModelName::new(name).unwrap();
        for change in [
            ModelChange::Put {
                kind: name("words-1"),
                of: BTreeMap::new(),
            },
            ModelChange::Put {
                kind: name(MIX),
                of: [("text-2", 0.7), ("clip", 0.3)]
                    .map(|(part, weight)| (name(part), Weight::new(weight).unwrap()))
                    .into(),
            },
            ModelChange::Activate,
            ModelChange::Delete,
        ] {
            let modelled = Modelled {
                domain: DomainName::new("news").unwrap(),
                request: "r1".to_owned(),
                name: name("better"),
                change,
                by: "k1".to_owned(),
            };
            let written = Event::Model(Box::new(modelled.clone())).to_json();
            let read =
                |bytes: &str, key| Modelled::parse(bytes.as_bytes(), &Limits::default(), key);
            assert_eq!(read(&written, "news"), Ok(modelled));
            let reason = |bytes: &str, key| read(bytes, key).unwrap_err().reason;
            assert_eq!(reason(&written, "blog"), Reason::DomainMismatch);
            let named_badly = written.replace("better", "Better");
            assert_eq!(reason(&named_badly, "news"), Reason::InvalidJson);
            let weighed_badly = written.replace("0.7", "0.0");
            if weighed_badly != written {
                assert_eq!(reason(&weighed_badly, "news"), Reason::InvalidJson);
            }
        }
    }
}
