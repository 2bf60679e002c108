//! Gathers lines of many domains into batches of one domain each.

use std::collections::HashMap;

use kindred_shared::DomainName;

/// Most lines of a batch.
pub(crate) const BATCH_LINES: usize = 1_000;
/// Most bytes of a batch; only a single line may be larger.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// Most bytes gathered over all domains; beyond it the largest batch is sent.
const GATHERED_BYTES: usize = 32 << 20;

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineOrigin {
    /// Which input, in the given order.
    pub(crate) file: usize,
    /// The line it starts on.
    pub(crate) line: u64,
    /// The text as it was in the input, if it was changed before sending.
    pub(crate) original: Option<Vec<u8>>,
}

/// Lines of one domain, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportBatch {
    /// The domain.
    pub(crate) domain: DomainName,
    /// NDJSON.
    pub(crate) body: Vec<u8>,
    /// Where each line comes from.
    pub(crate) places: Vec<LineOrigin>,
}

impl ImportBatch {
    fn new(domain: DomainName) -> Self {
        Self {
            domain,
            body: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The text of a line (counted from 0) as it was in its input.
    pub(crate) fn original(&self, at: usize) -> Option<String> {
        let place = self.places.get(at)?;
        let text = match &place.original {
            Some(text) => text,
            None => self.body.split(|byte| *byte == b'\n').nth(at)?,
        };
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// Gathers lines; the lines of one domain leave in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    open: HashMap<DomainName, ImportBatch>,
    bytes: usize,
}

impl Batches {
    /// Adds a line; returns the batch that must be sent now, if any.
    pub(crate) fn add(
        &mut self,
        domain: &DomainName,
        line: &[u8],
        place: LineOrigin,
    ) -> Option<ImportBatch> {
        let room = self.open.get(domain).is_none_or(|batch| {
            batch.places.len() < BATCH_LINES && batch.body.len() + line.len() < BATCH_BYTES
        });
        let full = if room { None } else { self.take(domain) };
        let batch = self
            .open
            .entry(domain.clone())
            .or_insert_with(|| ImportBatch::new(domain.clone()));
        batch.body.extend_from_slice(line);
        batch.body.push(b'\n');
        batch.places.push(place);
        self.bytes += line.len() + 1;
        if full.is_some() || self.bytes <= GATHERED_BYTES {
            return full;
        }
        let fullest = self
            .open
            .values()
            .max_by_key(|batch| batch.body.len())
            .map(|batch| batch.domain.clone())?;
        self.take(&fullest)
    }

    fn take(&mut self, domain: &DomainName) -> Option<ImportBatch> {
        let batch = self.open.remove(domain)?;
        self.bytes -= batch.body.len();
        Some(batch)
    }

    /// The remaining batches, one per domain.
    pub(crate) fn finish(self) -> impl Iterator<Item = ImportBatch> {
        self.open.into_values()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn place(line: u64) -> LineOrigin {
        LineOrigin {
            file: 0,
            line,
            original: None,
        }
    }

    #[test]
    fn keeps_the_order_and_the_limits_of_a_domain() {
        let names = ["a", "b"].map(|name| DomainName::new(name).unwrap());
        let mut batches = Batches::default();
        let mut done = Vec::new();
        for line in 0..2_500 {
            let domain = &names[usize::from(line % 5 == 0)];
            done.extend(batches.add(domain, format!("{line}").as_bytes(), place(line)));
        }
        done.extend(batches.finish());
        for name in &names {
            let sent: Vec<u64> = done
                .iter()
                .filter(|batch| batch.domain == *name)
                .flat_map(|batch| batch.places.iter().map(|place| place.line))
                .collect();
            assert!(sent.is_sorted(), "{name} keeps its order");
        }
        assert!(done.iter().all(|batch| batch.places.len() <= BATCH_LINES));
        let all: usize = done.iter().map(|batch| batch.places.len()).sum();
        assert_eq!(all, 2_500);
        assert_eq!(
            done[0].original(3).unwrap(),
            done[0].places[3].line.to_string()
        );
    }

    #[test]
    fn gathers_no_more_than_it_may() {
        let line = vec![b'x'; 1 << 20];
        let mut batches = Batches::default();
        let mut gone = 0;
        for at in 0..100 {
            let domain = DomainName::new(&format!("d{at}")).unwrap();
            gone += usize::from(batches.add(&domain, &line, place(at)).is_some());
        }
        assert_eq!(gone + batches.finish().count(), 100);
        assert!(gone >= 68, "{gone} batches had to go");
    }
}
