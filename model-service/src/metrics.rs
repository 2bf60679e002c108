//! Prometheus metrics: every name, its labels and its unit, in one place.
//!
//! Counters and histograms are incremented where things happen. Gauges derived from other state
//! (active domains, pending items …) are set by a hook right before a scrape
//! ([`Metrics::on_scrape`]), so that they cannot drift.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Content type of [`Metrics::render`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From an event's arrival to its being served or durable, in seconds: 1 ms … 10 min.
const EVENT_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
    60.0, 120.0, 300.0, 600.0,
];
/// Reading a whole domain, in seconds.
const LOAD_SECONDS: &[f64] = &[
    0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];
/// One commit of the store, in seconds.
const COMMIT_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// One HTTP request, in seconds. Writes wait for durability, batches for all their events.
const REQUEST_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// A counter, or one of several, with its labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted {
    /// The values of its labels, in the order of their names.
    pub(crate) labels: Vec<String>,
    /// Its value; for a histogram the number of observations.
    pub(crate) count: f64,
}

/// The values of counters, or the numbers of observations of histograms.
pub(crate) fn counted(metric: &impl Collector) -> Vec<Counted> {
    let families = metric.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    metrics
        .map(|metric| {
            let labels = metric.get_label().iter();
            let observed = metric.get_histogram().get_sample_count();
            Counted {
                labels: labels.map(|label| label.value().to_owned()).collect(),
                count: metric.get_counter().get_value() + observed as f64,
            }
        })
        .collect()
}

/// The bounds of a histogram's buckets, with the number of observations at or below each.
pub(crate) fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let families = histogram.collect();
    let metric = families
        .iter()
        .flat_map(|family| family.get_metric())
        .next();
    let buckets = metric
        .into_iter()
        .flat_map(|metric| metric.get_histogram().get_bucket());
    buckets
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .collect()
}

type ScrapeHook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Declares every metric once: its field and kind, name, help, labels and buckets.
macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident: $kind:ident $name:literal, $help:literal $(, $more:expr)*;)+) => {
        /// All metrics of one process.
        pub struct Metrics {
            registry: Registry,
            hooks: RwLock<Vec<ScrapeHook>>,
            /// `None` where the system does not report it.
            resident_memory: Option<IntGauge>,
            $($(#[$doc])* #[doc = ""] #[doc = concat!("`", $name, "`: ", $help)]
            pub $field: $kind,)+
        }

        impl Metrics {
            /// All metrics at zero, in a registry of their own.
            pub fn new() -> Self {
                let registry = Registry::new();
                Self {
                    $($field: <$kind as MetricKind>::declare(&registry, Opts::new($name, $help), ($($more),*)),)+
                    resident_memory: resident_bytes().map(|_| {
                        let help = "Memory of this process that is in RAM (bytes).";
                        let options = Opts::new("process_resident_memory_bytes", help);
                        MetricKind::declare(&registry, options, ())
                    }),
                    hooks: RwLock::default(),
                    registry,
                }
            }
        }
    };
}

metrics! {
    /// `type` is `item.created`, `item.updated` or `item.deleted`; `outcome` is named by the code
    /// that counts.
    events: IntCounterVec "kindred_events_total",
        "Events settled, by type and outcome (events).", &["type", "outcome"];
    /// `reason` is the reason's word.
    events_refused: IntCounterVec "kindred_events_refused_total",
        "Events refused for good, by reason (events).", &["reason"];
    /// `outcome` is `counted`, `again` (counted before), or the reason of a refusal.
    feedback: IntCounterVec "kindred_feedback_events_total",
        "Feedback events from readers, by outcome (events).", &["outcome"];
    /// `queue` is `items` (events that were refused) or `jobs` (jobs that killed workers); `reason`
    /// is the reason of the refusal, or `delivery_limit`.
    dead_letters: IntCounterVec "kindred_dead_letters_total",
        "Messages sent to a dead-letter queue, by queue and reason (messages).", &["queue", "reason"];
    /// `limit` is the configuration key of the limit.
    connections_refused: IntCounterVec "kindred_connections_refused_total",
        "Connections refused because a limit was reached, by limit (connections).", &["limit"];
    pairs_compared: IntCounter "kindred_pairs_compared_total", "Pairs compared (pairs).";
    rebuilds: IntCounter "kindred_rebuilds_total",
        "Times all lists of a domain were recomputed (rebuilds).";
    windows_closed: IntCounter "kindred_windows_closed_total", "Windows closed (windows).";
    lists_recomputed: IntCounter "kindred_lists_recomputed_total",
        "Lists recomputed because deletions made them too short (lists).";
    lists_written: IntCounter "kindred_lists_written_total", "List rows written or deleted (rows).";
    event_to_served: Histogram "kindred_event_to_served_seconds",
        "From an upsert's arrival to its list being served (seconds).", EVENT_SECONDS;
    oldest_pending: Gauge "kindred_oldest_pending_seconds",
        "Age of the oldest accepted item without an up-to-date list, 0 without one (seconds).";
    /// `partition` is its number.
    partition_owned: IntGaugeVec "kindred_partition_owned",
        "1 for each partition that this service hosts, 0 for the others (no unit).",
        &["partition"];
    load: Histogram "kindred_load_seconds",
        "Reading a whole domain, including the wait for its turn (seconds).", LOAD_SECONDS;
    flush_queue: IntGauge "kindred_flush_queue_lists",
        "Changed lists that are not stored yet (lists).";
    event_to_durable: Histogram "kindred_event_to_durable_seconds",
        "From an event's arrival to its being durable (seconds).", EVENT_SECONDS;
    /// `task` is `extract` or `compare`.
    jobs_dispatched: IntCounterVec "kindred_jobs_dispatched_total",
        "Jobs sent out, by task (jobs).", &["task"];
    jobs_overdue: IntCounter "kindred_jobs_overdue_total",
        "Jobs whose deadline passed without a reply (jobs).";
    jobs_failed: IntCounter "kindred_jobs_failed_total", "Jobs abandoned (jobs).";
    late_replies: IntCounter "kindred_late_replies_total",
        "Replies that arrived too late (replies).";
    /// `reason` is the reason of the fault, or `unreadable-reply`.
    replies_refused: IntCounterVec "kindred_replies_refused_total",
        "Workers' replies refused because they do not fit their jobs, by reason (replies).", &["reason"];
    jobs_in_flight: IntGauge "kindred_jobs_in_flight", "Jobs sent out and not answered (jobs).";
    jobs_done_here: IntGauge "kindred_jobs_done_here",
        "1 while there are no workers and this service does jobs itself, else 0 (no unit).";
    domains_active: IntGauge "kindred_domains_active", "Domains loaded or loading (domains).";
    domains_waiting: IntGauge "kindred_domains_waiting",
        "Domains waiting for jobs or the store (domains).";
    domains_dirty: IntGauge "kindred_domains_dirty",
        "Domains whose stored lists may differ from their items (domains).";
    domains_backing_off: IntGauge "kindred_domains_backing_off",
        "Domains that failed and wait before a retry (domains).";
    items_pending: IntGauge "kindred_items_pending",
        "Accepted items whose lists are not made yet (items).";
    memory: IntGauge "kindred_memory_bytes",
        "Estimated memory of active domains, loads included (bytes).";
    memory_budget: IntGauge "kindred_memory_budget_bytes",
        "Memory that active domains may use together (bytes).";
    /// `part` is one of `items`, `shown`, `blocks`, `lists`, `snapshot` and `loading`. Memory of a
    /// domain that is being loaded is in several parts.
    memory_parts: IntGaugeVec "kindred_memory_part_bytes",
        "Estimated memory of active domains, by part (bytes).", &["part"];
    store_rows_written: IntCounterVec "kindred_store_rows_written_total",
        "Rows written to the store, including deletions, by table (rows).", &["table"];
    damaged_rows: IntGauge "kindred_damaged_rows",
        "Damaged rows found in the store and not rewritten since (rows).";
    store_commit: Histogram "kindred_store_commit_seconds",
        "One commit of the store (seconds).", COMMIT_SECONDS;
    intake_bytes: IntGauge "kindred_intake_bytes", "Events accepted and not settled yet (bytes).";
    /// `route` is the template (`/v1/domains/{domain}`), never the path.
    http_request: HistogramVec "kindred_http_request_seconds",
        "One HTTP request until its answer is ready, by route, method and status (seconds).",
        &["route", "method", "status"], REQUEST_SECONDS;
    scan: Histogram "kindred_scan_seconds",
        "Computing one query that is not a stored list, including the wait for its turn (seconds).",
        REQUEST_SECONDS;
    scans_waiting: IntGauge "kindred_scans_waiting", "Queries that wait for their turn to be computed (queries).";
    scans_refused: IntCounter "kindred_scans_refused_total",
        "Queries refused as `busy`, because too many waited (queries).";
    /// Use [`Metrics::set_build_info`].
    build_info: IntGaugeVec "kindred_build_info",
        "Always 1; the version and the similarity kernel in use (no unit).", &["version", "kernel"];
}

impl Metrics {
    /// Records which similarity kernel this process uses.
    pub fn set_build_info(&self, kernel: &str) {
        self.build_info.reset();
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), kernel])
            .set(1);
    }

    /// Has `hook` set gauges right before every scrape. A hook must be quick and must not scrape.
    pub fn on_scrape(&self, hook: ScrapeHook) {
        self.hooks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hook);
    }

    /// Updates the gauges derived from other state.
    pub fn look(&self) {
        for hook in self
            .hooks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            hook(self);
        }
    }

    /// The metrics in Prometheus' text format ([`TEXT_FORMAT`]).
    pub fn render(&self) -> String {
        self.look();
        if let (Some(gauge), Some(bytes)) = (&self.resident_memory, resident_bytes()) {
            gauge.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not rendered");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A kind of metric.
trait MetricKind: Collector + Clone + Sized + 'static {
    /// What it needs besides name and help.
    type With;

    fn make(options: Opts, with: Self::With) -> prometheus::Result<Self>;

    fn declare(registry: &Registry, options: Opts, with: Self::With) -> Self {
        let metric = Self::make(options, with).expect("metric names are constants");
        registry
            .register(Box::new(metric.clone()))
            .expect("every metric name is registered once");
        metric
    }
}

type Labels = &'static [&'static str];
type Buckets = &'static [f64];

impl MetricKind for IntCounter {
    type With = ();

    fn make(options: Opts, (): ()) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl MetricKind for IntGauge {
    type With = ();

    fn make(options: Opts, (): ()) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl MetricKind for Gauge {
    type With = ();

    fn make(options: Opts, (): ()) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl MetricKind for IntCounterVec {
    type With = Labels;

    fn make(options: Opts, labels: Labels) -> prometheus::Result<Self> {
        Self::new(options, labels)
    }
}

impl MetricKind for IntGaugeVec {
    type With = Labels;

    fn make(options: Opts, labels: Labels) -> prometheus::Result<Self> {
        Self::new(options, labels)
    }
}

impl MetricKind for Histogram {
    type With = Buckets;

    fn make(options: Opts, buckets: Buckets) -> prometheus::Result<Self> {
        Self::with_opts(HistogramOpts::from(options).buckets(buckets.to_vec()))
    }
}

impl MetricKind for HistogramVec {
    type With = (Labels, Buckets);

    fn make(options: Opts, (labels, buckets): (Labels, Buckets)) -> prometheus::Result<Self> {
        Self::new(
            HistogramOpts::from(options).buckets(buckets.to_vec()),
            labels,
        )
    }
}

/// Resident memory of this process in bytes; `None` where `/proc` does not report it.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_resident(&status)
}

/// The line `VmRSS:     5432 kB`.
fn parse_resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_names_its_unit_and_has_our_prefix() {
        let metrics = Metrics::new();
        metrics
            .events
            .with_label_values(&["item.created", "x"])
            .inc();
        metrics.events_refused.with_label_values(&["x"]).inc();
        metrics.feedback.with_label_values(&["x"]).inc();
        metrics.dead_letters.with_label_values(&["jobs", "x"]).inc();
        metrics
            .connections_refused
            .with_label_values(&["connections"])
            .inc();
        metrics.partition_owned.with_label_values(&["0"]).set(1);
        metrics
            .jobs_dispatched
            .with_label_values(&["extract"])
            .inc();
        metrics
            .store_rows_written
            .with_label_values(&["items"])
            .inc();
        metrics
            .http_request
            .with_label_values(&["/", "GET", "200"])
            .observe(0.1);
        metrics.memory_parts.with_label_values(&["lists"]).set(1);
        metrics.replies_refused.with_label_values(&["x"]).inc();
        metrics.set_build_info("scalar");
        let families = metrics.registry.gather();
        for family in &families {
            assert!(family.help().ends_with(").") && family.help().contains('('));
            assert!(family.name().starts_with("kindred_") || family.name().starts_with("process_"));
        }
        let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
        let mut expected = vec![
            "kindred_build_info",
            "kindred_connections_refused_total",
            "kindred_damaged_rows",
            "kindred_dead_letters_total",
            "kindred_domains_active",
            "kindred_domains_backing_off",
            "kindred_domains_dirty",
            "kindred_domains_waiting",
            "kindred_event_to_durable_seconds",
            "kindred_event_to_served_seconds",
            "kindred_events_refused_total",
            "kindred_events_total",
            "kindred_feedback_events_total",
            "kindred_flush_queue_lists",
            "kindred_http_request_seconds",
            "kindred_intake_bytes",
            "kindred_items_pending",
            "kindred_jobs_dispatched_total",
            "kindred_jobs_done_here",
            "kindred_jobs_failed_total",
            "kindred_jobs_in_flight",
            "kindred_jobs_overdue_total",
            "kindred_late_replies_total",
            "kindred_lists_recomputed_total",
            "kindred_lists_written_total",
            "kindred_load_seconds",
            "kindred_memory_budget_bytes",
            "kindred_memory_bytes",
            "kindred_memory_part_bytes",
            "kindred_oldest_pending_seconds",
            "kindred_pairs_compared_total",
            "kindred_partition_owned",
            "kindred_rebuilds_total",
            "kindred_replies_refused_total",
            "kindred_scan_seconds",
            "kindred_scans_refused_total",
            "kindred_scans_waiting",
            "kindred_store_commit_seconds",
            "kindred_store_rows_written_total",
            "kindred_windows_closed_total",
        ];
        if metrics.resident_memory.is_some() {
            expected.push("process_resident_memory_bytes");
        }
        assert_eq!(names, expected);
        assert_eq!(unknown_in(OPERATIONS, &names), [""; 0]);
        assert!(metrics.render().contains(&format!(
            "kindred_build_info{{kernel=\"scalar\",version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        )));
    }

    const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

    /// Names in a document that look like metrics of model services but are not.
    fn unknown_in<'a>(document: &'a str, names: &[&str]) -> Vec<&'a str> {
        /// Similar names that are not metrics: roles of the database, and what workers' own test
        /// checks.
        const NO_METRICS: [&str; 3] = ["kindred_reader", "kindred_service", "kindred_worker"];
        /// Suffixes of a histogram's series.
        const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        let named = document.split(|c| !is_word(c)).filter(|word| {
            word.starts_with("kindred_") && !NO_METRICS.iter().any(|no| word.starts_with(no))
        });
        let is_known = |word: &str| {
            let whole = PARTS.iter().find_map(|part| word.strip_suffix(part));
            names.contains(&word) || whole.is_some_and(|whole| names.contains(&whole))
        };
        named.filter(|word| !is_known(word)).collect()
    }

    #[test]
    fn a_name_that_is_no_metric_is_found() {
        let document = "`kindred_jobs_total`, kindred_reader, `kindred_job_seconds_count{x}`";
        let names = ["kindred_job_seconds", "kindred_jobs_done"];
        assert_eq!(unknown_in(document, &names), ["kindred_jobs_total"]);
    }

    #[test]
    fn events_are_counted_up_to_ten_minutes() {
        assert_eq!(EVENT_SECONDS.last(), Some(&600.0));
        assert!(EVENT_SECONDS.is_sorted() && LOAD_SECONDS.is_sorted());
    }

    #[test]
    fn hooks_set_gauges_before_a_scrape() {
        let metrics = Metrics::new();
        metrics.on_scrape(Box::new(|m| m.items_pending.set(7)));
        assert!(metrics.render().contains("\nkindred_items_pending 7\n"));
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t   5432 kB\nThreads: 1\n"),
            Some(5432 * 1024)
        );
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert_eq!(parse_resident("VmRSS:\tlots kB\n"), None);
    }
}
