//! A message as received.

use kindred_domain::intake::unacked::Message;
use lapin::BasicProperties;

/// A message as received.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
    /// Identifies a message across redeliveries.
    pub(super) fingerprint: u64,
    /// How often it was delivered before, over all connections.
    pub(super) redeliveries: u32,
}

impl Message for Raw {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn redeliveries(&self) -> u32 {
        self.redeliveries
    }
}
