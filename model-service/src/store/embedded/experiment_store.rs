//! The embedded store of experiments.

use async_trait::async_trait;
use kindred_shared::DomainName;

use super::EmbeddedStore;
use super::encoding::{end_of, key};
use super::experiments::{Change, EXPERIMENTS, READERS, opened, reader_key};
use super::writer::Command;
use kindred_domain::experiment::store::{
    ExperimentRow, ExperimentStore, ReaderRow, Readers, Writer,
};
use kindred_domain::experiment::tally::{ReaderKey, Tally};
use kindred_domain::store::StoreError;

impl EmbeddedStore {
    async fn change(
        &self,
        writer: Writer,
        domain: &DomainName,
        change: Change,
    ) -> Result<bool, StoreError> {
        let domain = domain.clone();
        self.ask(|answer| Command::Experiments {
            partition: writer.partition,
            epoch: writer.epoch,
            domain,
            change,
            answer,
        })
        .await
    }
}

#[async_trait]
impl ExperimentStore for EmbeddedStore {
    async fn experiments(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError> {
        let first = key(domain, "");
        let end = end_of(first.clone());
        self.read(move |transaction| {
            let Some(table) = opened(transaction, EXPERIMENTS)? else {
                return Ok(Vec::new());
            };
            let mut rows = Vec::new();
            for entry in table.range(&*first..&*end)? {
                let (key, json) = entry?;
                match serde_json::from_slice(json.value()) {
                    Ok(row) => rows.push(row),
                    Err(error) => {
                        let key = String::from_utf8_lossy(key.value());
                        tracing::error!(%key, %error, "store.experiment_not_readable");
                    }
                }
            }
            Ok(rows)
        })
        .await
    }

    async fn put_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        row: &ExperimentRow,
    ) -> Result<(), StoreError> {
        let change = Change::Put(Box::new(row.clone()));
        self.change(writer, domain, change).await.map(drop)
    }

    async fn delete_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        name: &str,
    ) -> Result<(), StoreError> {
        let change = Change::Delete(name.to_owned());
        self.change(writer, domain, change).await.map(drop)
    }

    async fn readers(
        &self,
        domain: &DomainName,
        run: i64,
        readers: &[ReaderKey],
    ) -> Result<Vec<Option<Tally>>, StoreError> {
        let keys = readers.iter();
        let keys: Vec<_> = keys
            .map(|reader| reader_key(domain, run, reader.0))
            .collect();
        self.read(move |transaction| {
            let table = opened(transaction, READERS)?;
            let mut tallies = Vec::with_capacity(keys.len());
            for key in keys {
                let value = match &table {
                    Some(table) => table.get(&*key)?,
                    None => None,
                };
                tallies.push(value.and_then(|value| Tally::from_bytes(value.value())));
            }
            Ok(tallies)
        })
        .await
    }

    async fn put_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
        rows: &[ReaderRow],
    ) -> Result<(), StoreError> {
        let change = Change::PutReaders(run, rows.to_vec());
        self.change(writer, domain, change).await.map(drop)
    }

    async fn scan_readers(
        &self,
        domain: &DomainName,
        run: i64,
        behind: Option<ReaderKey>,
        most: usize,
    ) -> Result<Readers, StoreError> {
        let mut first = reader_key(domain, run, behind.map_or([0; 16], |reader| reader.0));
        if behind.is_some() {
            // The first key after this one.
            first.push(0);
        }
        let mut end = reader_key(domain, run, [u8::MAX; 16]);
        end.push(0);
        self.read(move |transaction| {
            let mut found = Readers {
                rows: Vec::new(),
                next: None,
            };
            let Some(table) = opened(transaction, READERS)? else {
                return Ok(found);
            };
            let (mut read, mut last) = (0, None);
            for entry in table.range(&*first..&*end)?.take(most) {
                let (key, value) = entry?;
                read += 1;
                last = key.value().last_chunk::<16>().copied().map(ReaderKey);
                let tally = Tally::from_bytes(value.value());
                found.rows.extend(last.zip(tally));
            }
            found.next = last.filter(|_| read == most);
            Ok(found)
        })
        .await
    }

    async fn forget_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
    ) -> Result<(), StoreError> {
        while !self
            .change(writer, domain, Change::ForgetReaders(run))
            .await?
        {}
        Ok(())
    }
}
