//! A scripted broker and store in memory, which record what they were asked.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kindred_runtime::amqp::ReplyAddress;
use kindred_shared::DomainName;
use kindred_shared::block_store::{BlockStore, BlockStoreError};
use kindred_shared::wire::BlockHash;
use lapin::BasicProperties;
use lapin::types::ShortString;

use crate::service::job::{Lost, Outbox, Published, Settle};

/// Blocks in memory.
#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) blocks: Mutex<HashMap<BlockHash, Vec<u8>>>,
    /// How many of the next reads fail.
    pub(super) failures: AtomicUsize,
    /// Reads so far.
    pub(super) reads: AtomicUsize,
}

#[async_trait]
impl BlockStore for FakeStore {
    async fn put(
        &self,
        _: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError> {
        self.blocks.lock().unwrap().insert(*hash, bytes.to_vec());
        Ok(())
    }

    async fn get(
        &self,
        _: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let fail = |left: usize| left.checked_sub(1);
        if (self.failures)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail)
            .is_ok()
        {
            return Err(BlockStoreError::Away("told to".to_owned()));
        }
        Ok(self.blocks.lock().unwrap().get(hash).cloned())
    }

    async fn delete(&self, _: &DomainName, hash: &[u8; 16]) -> Result<(), BlockStoreError> {
        self.blocks.lock().unwrap().remove(hash);
        Ok(())
    }
}

/// The requests to the broker, in order.
#[derive(Debug, Clone)]
pub(super) enum BrokerCall {
    Answer(ShortString, Box<BasicProperties>, Vec<u8>),
    Ack,
}

/// A broker that gives scripted answers, and then "confirmed".
#[derive(Clone, Default)]
pub(super) struct FakeBroker {
    asked: Arc<Mutex<Vec<BrokerCall>>>,
    outcomes: Arc<Mutex<VecDeque<Result<Published, Lost>>>>,
}

impl FakeBroker {
    /// Scripts the answer to the next publish.
    pub(super) fn then(self, outcome: Result<Published, Lost>) -> Self {
        self.outcomes.lock().unwrap().push_back(outcome);
        self
    }

    pub(super) fn asked(&self) -> Vec<BrokerCall> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, asked: BrokerCall) -> Result<Published, Lost> {
        self.asked.lock().unwrap().push(asked);
        let next = self.outcomes.lock().unwrap().pop_front();
        next.unwrap_or(Ok(Published::Confirmed))
    }
}

#[async_trait]
impl Outbox for FakeBroker {
    async fn answer(
        &self,
        to: &ReplyAddress,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost> {
        self.note(BrokerCall::Answer(
            to.queue.clone(),
            Box::new(properties),
            body,
        ))
    }
}

#[async_trait]
impl Settle for FakeBroker {
    async fn ack(&self) -> Result<(), Lost> {
        self.asked.lock().unwrap().push(BrokerCall::Ack);
        Ok(())
    }
}
