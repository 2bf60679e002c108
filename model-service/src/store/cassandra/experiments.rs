//! Experiments and what readers did. The readers of a run are spread over [`BUCKETS`] partitions,
//! so that deleting a run takes that many statements and no partition becomes too large.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kindred_shared::DomainName;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::CassandraStore;
use super::failure::Trouble;
use kindred_domain::experiment::store::{
    ExperimentRow, ExperimentStore, ReaderRow, Readers, Writer,
};
use kindred_domain::experiment::tally::{ReaderKey, Tally};
use kindred_domain::store::StoreError;

/// Partitions per run of an experiment.
const BUCKETS: i16 = 64;
/// Most readers per request.
const READERS_PER_REQUEST: usize = 100;
/// Most bytes of readers' rows per request, unless a single row has more.
const REQUEST_BYTES: usize = 32 << 10;
/// Requests about one run in flight.
const AT_ONCE: usize = 16;

/// The partition of a reader's row.
fn bucket(reader: ReaderKey) -> i16 {
    i16::from(reader.0[0]) % BUCKETS
}

/// The columns of a reader's row as written.
type ReaderColumns = (String, i64, i16, Vec<u8>, Vec<u8>, i64);

impl CassandraStore {
    /// Deletes everything stored about a domain's experiments, including earlier ones whose readers
    /// were not deleted yet.
    pub(super) async fn sweep_experiments(
        &self,
        domain: &DomainName,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let runs = self.runs(domain).await.map_err(Trouble::of_read)?;
        for run in runs {
            self.forget_run(domain, run, stamp).await?;
        }
        let values = (stamp, domain.as_str());
        self.write(&self.statements.sweep_experiments, values).await
    }

    async fn runs(&self, domain: &DomainName) -> Result<Vec<i64>, Trouble> {
        let found = self
            .read(&self.statements.experiments, (domain.as_str(),))
            .await?;
        let rows = found.rows::<(Option<i64>, Option<String>)>()?;
        let mut runs = Vec::new();
        for row in rows {
            runs.extend(row?.0);
        }
        Ok(runs)
    }

    async fn all_experiments(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, Trouble> {
        let found = self
            .read(&self.statements.experiments, (domain.as_str(),))
            .await?;
        let mut rows = Vec::new();
        for row in found.rows::<(Option<i64>, Option<String>)>()? {
            match serde_json::from_str(&row?.1.unwrap_or_default()) {
                Ok(row) => rows.push(row),
                Err(error) => tracing::error!(%domain, %error, "store.experiment_not_readable"),
            }
        }
        Ok(rows)
    }

    async fn forget_run(
        &self,
        domain: &DomainName,
        run: i64,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let of = domain.as_str();
        let statement = &self.statements.forget_readers;
        stream::iter(0..BUCKETS)
            .map(|bucket| self.write(statement, (stamp, of, run, bucket)))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        let _turn = self.writing.acquire().await;
        let written = self.session.execute_unpaged(statement, values).await;
        written
            .map(drop)
            .map_err(|error| Trouble::from(error).of_write())
    }

    async fn write_readers(&self, rows: Vec<ReaderColumns>) -> Result<(), StoreError> {
        let _turn = self.writing.acquire().await;
        let mut batch = CqlBatch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for _ in &rows {
            batch.append_statement(self.statements.put_reader.clone());
        }
        let written = self.session.batch(&batch, &rows).await;
        written
            .map(drop)
            .map_err(|error| Trouble::from(error).of_write())
    }

    async fn readers_of(
        &self,
        domain: &DomainName,
        run: i64,
        bucket: i16,
        readers: Vec<Vec<u8>>,
    ) -> Result<Vec<ReaderRow>, Trouble> {
        let values = (domain.as_str(), run, bucket, readers);
        let found = self.read(&self.statements.readers_of, values).await?;
        let mut rows = Vec::new();
        for row in found.rows::<(Vec<u8>, Option<Vec<u8>>)>()? {
            rows.extend(reader_row(row?));
        }
        Ok(rows)
    }

    /// Readers of a bucket after a given one, and where the next page starts.
    async fn readers_from(
        &self,
        (domain, run, bucket): (&DomainName, i64, i16),
        behind: Option<ReaderKey>,
        most: usize,
    ) -> Result<Readers, Trouble> {
        // No reader's key is empty, so this is before all of them.
        let behind = behind.map_or_else(Vec::new, |reader| reader.0.to_vec());
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        let values = (domain.as_str(), run, bucket, behind, limit);
        let found = self.read(&self.statements.readers_from, values).await?;
        let (mut rows, mut read, mut last) = (Vec::new(), 0, None);
        for row in found.rows::<(Vec<u8>, Option<Vec<u8>>)>()? {
            let row = row?;
            read += 1;
            last = reader_key(&row.0).or(last);
            rows.extend(reader_row(row));
        }
        Ok(Readers {
            rows,
            next: last.filter(|_| read == most),
        })
    }
}

fn reader_key(bytes: &[u8]) -> Option<ReaderKey> {
    bytes.try_into().ok().map(ReaderKey)
}

/// Parses a row; a row that Kindred did not write is skipped.
fn reader_row((reader, tally): (Vec<u8>, Option<Vec<u8>>)) -> Option<ReaderRow> {
    Some((reader_key(&reader)?, Tally::from_bytes(&tally?)?))
}

/// Groups rows into requests: one bucket per request, within the limits.
fn requests(
    domain: &DomainName,
    run: i64,
    stamp: i64,
    rows: &[ReaderRow],
) -> Vec<Vec<ReaderColumns>> {
    let mut buckets: BTreeMap<i16, Vec<&ReaderRow>> = BTreeMap::new();
    for row in rows {
        buckets.entry(bucket(row.0)).or_default().push(row);
    }
    let mut requests = Vec::new();
    for (bucket, rows) in buckets {
        let (mut open, mut bytes) = (Vec::new(), 0);
        for (reader, tally) in rows {
            let tally = tally.to_bytes();
            if !open.is_empty()
                && (bytes + tally.len() > REQUEST_BYTES || open.len() == READERS_PER_REQUEST)
            {
                requests.push(std::mem::take(&mut open));
                bytes = 0;
            }
            bytes += tally.len();
            let (domain, reader) = (domain.to_string(), reader.0.to_vec());
            open.push((domain, run, bucket, reader, tally, stamp));
        }
        requests.push(open);
    }
    requests
}

#[async_trait]
impl ExperimentStore for CassandraStore {
    async fn experiments(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError> {
        let found = self.all_experiments(domain).await;
        found.map_err(Trouble::of_read)
    }

    async fn put_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        row: &ExperimentRow,
    ) -> Result<(), StoreError> {
        let json = serde_json::to_string(row)
            .map_err(|error| StoreError::Damaged(format!("an experiment: {error}")))?;
        let (of, name) = (domain.as_str(), row.experiment.name.as_str());
        let values = (of, name, row.run, json, writer.stamp.as_i64());
        self.write(&self.statements.put_experiment, values).await?;
        self.fence(writer.partition, writer.epoch).await
    }

    async fn delete_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        name: &str,
    ) -> Result<(), StoreError> {
        let values = (writer.stamp.as_i64(), domain.as_str(), name);
        self.write(&self.statements.delete_experiment, values)
            .await?;
        self.fence(writer.partition, writer.epoch).await
    }

    async fn readers(
        &self,
        domain: &DomainName,
        run: i64,
        readers: &[ReaderKey],
    ) -> Result<Vec<Option<Tally>>, StoreError> {
        let mut buckets: BTreeMap<i16, Vec<Vec<u8>>> = BTreeMap::new();
        for reader in readers {
            let of_bucket = buckets.entry(bucket(*reader)).or_default();
            of_bucket.push(reader.0.to_vec());
        }
        let requests = buckets.into_iter().flat_map(|(bucket, readers)| {
            let chunks = readers.chunks(READERS_PER_REQUEST).map(<[_]>::to_vec);
            let chunks: Vec<_> = chunks.map(|readers| (bucket, readers)).collect();
            chunks
        });
        let found: Vec<Vec<ReaderRow>> = stream::iter(requests)
            .map(|(bucket, readers)| self.readers_of(domain, run, bucket, readers))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .map_err(Trouble::of_read)?;
        let mut found: HashMap<ReaderKey, Tally> = found.into_iter().flatten().collect();
        Ok(readers.iter().map(|reader| found.remove(reader)).collect())
    }

    async fn put_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
        rows: &[ReaderRow],
    ) -> Result<(), StoreError> {
        let requests = requests(domain, run, writer.stamp.as_i64(), rows);
        let written: Result<(), StoreError> = stream::iter(requests)
            .map(|rows| self.write_readers(rows))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await;
        written?;
        self.fence(writer.partition, writer.epoch).await
    }

    async fn scan_readers(
        &self,
        domain: &DomainName,
        run: i64,
        behind: Option<ReaderKey>,
        most: usize,
    ) -> Result<Readers, StoreError> {
        let first = behind.map_or(0, bucket);
        let mut found = Readers {
            rows: Vec::new(),
            next: None,
        };
        let mut behind = behind;
        for bucket in first..BUCKETS {
            let left = most - found.rows.len();
            let page = self.readers_from((domain, run, bucket), behind.take(), left);
            let page = page.await.map_err(Trouble::of_read)?;
            found.rows.extend(page.rows);
            if page.next.is_some() {
                found.next = page.next;
                break;
            }
            // A page that ends with a bucket continues in the next bucket.
            if found.rows.len() >= most {
                found.next = found.rows.last().map(|(reader, _)| *reader);
                break;
            }
        }
        Ok(found)
    }

    async fn forget_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
    ) -> Result<(), StoreError> {
        self.forget_run(domain, run, writer.stamp.as_i64()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_one_bucket_go_together_in_bounds() {
        let domain = DomainName::new("d").expect("a name");
        let row = |n: u32| (ReaderKey::of(&n.to_string()), Tally::default());
        let rows: Vec<_> = (0..20_000).map(row).collect();
        let requests = requests(&domain, 1, 2, &rows);
        assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), rows.len());
        for request in &requests {
            assert!((1..=READERS_PER_REQUEST).contains(&request.len()));
            assert!(request.iter().all(|row| row.2 == request[0].2));
        }
        assert!(requests.len() < 64 * 5, "{}", requests.len());
    }
}
