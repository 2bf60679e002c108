//! Configuration of events.

use kindred_shared::event::Limits;

use super::section::{DECIDING, Validate, section};
use super::{ConfigError, Origins, values};

section! {
    /// Size limits of events.
    struct Events;

    /// Most bytes of an item's text.
    max_text: usize = "256KiB" {
        roles: DECIDING,
        expects: "a size of 1B to 8MiB, such as 256KiB",
        read: |text| values::size(text, 1, 8 << 20),
        show: values::show_size,
    }

    /// Most bytes of a whole event.
    max_message: usize = "1MiB" {
        roles: DECIDING,
        expects: "a size of 1KiB to 8MiB, such as 1MiB",
        read: |text| values::size(text, 1 << 10, 8 << 20),
        show: values::show_size,
    }

    /// Most attributes of an item.
    max_attributes: usize = "64" {
        roles: DECIDING,
        expects: "a whole number of 0 to 10000",
        read: |text| values::count(text, 0, 10_000),
        show: usize::to_string,
    }
}

impl Validate for Events {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        if self.max_text <= self.max_message {
            return Ok(());
        }
        Err(ConfigError::unsuitable(
            "max_text",
            &values::show_size(&self.max_text),
            origins.of("max_text"),
            format!(
                "at most max_message ({})",
                values::show_size(&self.max_message)
            ),
        ))
    }
}

impl Events {
    /// The limits that events are checked against.
    pub fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.max_message,
            text_bytes: self.max_text,
            attributes: self.max_attributes,
        }
    }
}
