//! The machine that a figure was measured on, and what its counters say.

use std::io::Write;

use serde::Serialize;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) system: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = file("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                Some(
                    line.strip_prefix("model name")?
                        .split_once(':')?
                        .1
                        .trim()
                        .to_owned(),
                )
            })
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let release = file("/proc/sys/kernel/osrelease");
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, release.trim()),
        }
    }

    /// The line that begins a report for people.
    pub(super) fn print(&self, version: &str, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(
            out,
            "kindred {version} on {}, {} cores, {}",
            self.cpu, self.cores, self.system
        )
    }
}

/// The sum over all labels of a counter in Prometheus' text format.
pub(super) fn counter(metrics: &str, name: &str) -> Option<f64> {
    let mut values = metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with('{') || rest.starts_with(' ')).then_some(rest)
        })
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .peekable();
    values.peek()?;
    Some(values.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let text = "# TYPE a_total counter\na_total{x=\"1 2\"} 3\na_total{x=\"b\"} 4\na_total_x 9\nb 1e3\n";
        assert_eq!(counter(text, "a_total"), Some(7.0));
        assert_eq!(counter(text, "b"), Some(1000.0));
        assert_eq!(counter(text, "c"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_says_what_it_has() {
        assert!(Machine::here().cores > 0);
    }
}
