//! The status of a worker: its identity, its counters, and whether broker and database work.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kindred_shared::worker::WorkerCard;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Content type of [`WorkerStatus::render`].
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Buckets of the time from taking a job to its settlement, in seconds: 1 ms to 60 s.
const JOB_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// Answered, and the broker has the answer.
    Answered,
    /// Answered with a failure.
    Failed,
    /// Nobody was left to receive the answer.
    Orphaned,
    /// Its deadline passed: not computed, or computed in vain.
    Expired,
    /// Not a valid job, or of an unknown protocol: refused, or dropped if it did not say where to send the reply.
    Malformed,
    /// The connection to the broker was lost; the job will be redelivered.
    Lost,
}

impl JobEnd {
    const ALL: [Self; 6] = [
        Self::Answered,
        Self::Failed,
        Self::Orphaned,
        Self::Expired,
        Self::Malformed,
        Self::Lost,
    ];

    /// The value of the metric's label.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Orphaned => "orphaned",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Lost => "lost",
        }
    }
}

/// An external service that a worker needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// RabbitMQ: delivers jobs and takes answers.
    Broker,
    /// Cassandra or ScyllaDB: stores the blocks that jobs name.
    Database,
}

impl Edge {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Broker, Self::Database];

    /// Its name in `/readyz`, log lines and metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Database => "database",
        }
    }
}

/// What a worker has done and what it is connected to.
pub(crate) struct WorkerStatus {
    name: String,
    kernel: String,
    threads: u32,
    registry: Registry,
    jobs: IntCounterVec,
    job_seconds: Histogram,
    pairs: IntCounter,
    in_hand: IntGauge,
    cached_bytes: IntGauge,
    blocks: IntCounterVec,
    up: IntGaugeVec,
    broker: AtomicBool,
    database: AtomicBool,
    stopping: AtomicBool,
}

impl fmt::Debug for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerStatus of {}", self.card())
    }
}

impl WorkerStatus {
    /// The status of a worker that has done nothing yet and has no connection.
    pub(crate) fn new(name: String, kernel: &str, threads: usize) -> Self {
        const CANNOT_FAIL: &str = "names and labels are constants and each is registered once";
        let registry = Registry::new();
        let jobs = IntCounterVec::new(
            Opts::new("kindred_worker_jobs_total", "Jobs by outcome"),
            &["end"],
        )
        .expect(CANNOT_FAIL);
        let job_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "kindred_worker_job_seconds",
                "From taking a job to its settlement",
            )
            .buckets(JOB_SECONDS.to_vec()),
        )
        .expect(CANNOT_FAIL);
        let pairs = IntCounter::new(
            "kindred_worker_pairs_compared_total",
            "Pairs of items compared",
        )
        .expect(CANNOT_FAIL);
        let in_hand = IntGauge::new("kindred_worker_jobs_in_hand", "Jobs taken and not settled")
            .expect(CANNOT_FAIL);
        let cached_bytes = IntGauge::new(
            "kindred_worker_block_cache_bytes",
            "Bytes of blocks kept in memory",
        )
        .expect(CANNOT_FAIL);
        let blocks = IntCounterVec::new(
            Opts::new(
                "kindred_worker_blocks_total",
                "Blocks needed, by whether they were in memory",
            ),
            &["from"],
        )
        .expect(CANNOT_FAIL);
        let up = IntGaugeVec::new(
            Opts::new("kindred_worker_edge_up", "Whether an edge works: 1 or 0"),
            &["edge"],
        )
        .expect(CANNOT_FAIL);
        let info = IntGaugeVec::new(
            Opts::new("kindred_worker_info", "Always 1"),
            &["name", "kernel", "threads", "version"],
        )
        .expect(CANNOT_FAIL);
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        info.with_label_values(&[
            name.as_str(),
            kernel,
            &threads.to_string(),
            env!("CARGO_PKG_VERSION"),
        ])
        .set(1);
        for end in JobEnd::ALL {
            jobs.with_label_values(&[end.word()]);
        }
        for edge in Edge::ALL {
            up.with_label_values(&[edge.word()]);
        }
        let collectors: [Box<dyn prometheus::core::Collector>; 8] = [
            Box::new(jobs.clone()),
            Box::new(job_seconds.clone()),
            Box::new(pairs.clone()),
            Box::new(in_hand.clone()),
            Box::new(cached_bytes.clone()),
            Box::new(blocks.clone()),
            Box::new(up.clone()),
            Box::new(info),
        ];
        for collector in collectors {
            registry.register(collector).expect(CANNOT_FAIL);
        }
        Self {
            name,
            kernel: kernel.to_owned(),
            threads,
            registry,
            jobs,
            job_seconds,
            pairs,
            in_hand,
            cached_bytes,
            blocks,
            up,
            broker: AtomicBool::new(false),
            database: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// The card for a reply that is about to be sent.
    pub(crate) fn card(&self) -> WorkerCard {
        let done = |end: JobEnd| self.jobs.with_label_values(&[end.word()]).get();
        WorkerCard {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            threads: self.threads,
            jobs_done: done(JobEnd::Answered) + done(JobEnd::Failed),
        }
    }

    /// Counts a job as taken from the broker.
    pub(crate) fn taken(&self) -> InHand<'_> {
        self.in_hand.inc();
        InHand(self)
    }

    /// Adds compared pairs.
    pub(crate) fn compared(&self, pairs: u64) {
        self.pairs.inc_by(pairs);
    }

    /// Counts a needed block as found in memory or read from the store; records the size of the cache.
    pub(crate) fn block(&self, from_memory: bool, cached_bytes: usize) {
        let from = if from_memory { "memory" } else { "store" };
        self.blocks.with_label_values(&[from]).inc();
        self.cached_bytes
            .set(i64::try_from(cached_bytes).unwrap_or(i64::MAX));
    }

    /// Records whether an edge works. Returns `true` if that is a change.
    pub(crate) fn edge(&self, edge: Edge, works: bool) -> bool {
        let before = self.flag(edge).swap(works, Ordering::Relaxed);
        self.up
            .with_label_values(&[edge.word()])
            .set(i64::from(works));
        before != works
    }

    /// Marks the worker as stopping.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What keeps the worker from being ready; empty if it is.
    pub(crate) fn hindrances(&self) -> Vec<String> {
        let away = Edge::ALL
            .into_iter()
            .filter(|edge| !self.flag(*edge).load(Ordering::Relaxed))
            .map(|edge| format!("{} is unreachable", edge.word()));
        let stopping = self.stopping.load(Ordering::Relaxed);
        let stopping = stopping.then(|| "stopping".to_owned());
        stopping.into_iter().chain(away).collect()
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Errors of the encoder.
    pub(crate) fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn flag(&self, edge: Edge) -> &AtomicBool {
        match edge {
            Edge::Broker => &self.broker,
            Edge::Database => &self.database,
        }
    }
}

/// A job in hand; counted until it is dropped.
#[must_use]
pub(crate) struct InHand<'a>(&'a WorkerStatus);

impl InHand<'_> {
    /// Records that the job was settled or given back.
    pub(crate) fn ended(self, end: JobEnd, after: Duration) {
        self.0.jobs.with_label_values(&[end.word()]).inc();
        self.0.job_seconds.observe(after.as_secs_f64());
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.dec();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_both_edges_work_and_nothing_stops() {
        let status = WorkerStatus::new("box-1".to_owned(), "scalar", 2);
        assert_eq!(
            status.hindrances(),
            ["broker is unreachable", "database is unreachable"]
        );
        assert!(status.edge(Edge::Broker, true));
        assert!(!status.edge(Edge::Broker, true));
        assert_eq!(status.hindrances(), ["database is unreachable"]);
        status.edge(Edge::Database, true);
        assert!(status.hindrances().is_empty());
        status.stop();
        assert_eq!(status.hindrances(), ["stopping"]);
    }

    #[test]
    fn counts_what_was_answered() {
        let status = WorkerStatus::new("box-1".to_owned(), "scalar", 2);
        for end in JobEnd::ALL {
            status.taken().ended(end, Duration::from_millis(3));
        }
        status.block(true, 9);
        assert_eq!(status.card().jobs_done, 2);
        let text = status.render().unwrap();
        for line in [
            "kindred_worker_jobs_total{end=\"malformed\"} 1",
            "kindred_worker_jobs_in_hand 0",
            "kindred_worker_edge_up{edge=\"broker\"} 0",
            "kindred_worker_job_seconds_count 6",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("kernel=\"scalar\"") && text.contains("name=\"box-1\""));
        let documents = [
            include_str!("../../../docs/OPERATIONS.md"),
            include_str!("../../../deploy/README.md"),
        ];
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = documents.iter().flat_map(|one| one.split(|c| !is_word(c)));
        // `kindred_worker` alone is a database role.
        for named in words.filter(|word| word.starts_with("kindred_worker_")) {
            let declared = format!("# TYPE {named} ");
            assert!(text.contains(&declared), "{named} is no metric");
        }
    }
}
