//! Metrics: a worker counts in cells of its own, a scrape adds them up.
//!
//! The [`Registry`] belongs to the control side: it names series and renders them. A worker holds [`Cells`]
//! and ids ([`Counter`], [`Gauge`], [`Histogram`]) that were registered while the configuration was compiled,
//! so that counting is a load, an addition and a store: no lock, no hash, no allocation once a page of cells
//! has been touched. The same name and labels give the same id again, so counts go on over reloads; what a
//! worker counted stays when the worker ends, so counters never go back.
//!
//! ```
//! use mainstay_telemetry::Registry;
//! let registry = Registry::new();
//! let hits = registry.counter("example_hits_total", "Hits.", &[("page", "start")]);
//! let cells = registry.worker();
//! cells.inc(hits);
//! assert!(registry.render().contains("example_hits_total{page=\"start\"} 1\n"));
//! ```

mod cells;
mod registry;
mod scrape;

#[cfg(test)]
mod strict;
#[cfg(test)]
mod tests;

pub use cells::Cells;
pub use registry::Registry;
pub use scrape::Scrape;

/// Most series of one kind (counters, gauges, histograms), overflow series included.
pub const SERIES_MAX: usize = 65_536;

/// How many of [`SERIES_MAX`] are kept back for the overflow series, one for each family and set of label names.
const SERIES_RESERVED: usize = 256;

/// Upper bounds of the histogram buckets in microseconds; a bound belongs to its bucket. Beyond the last is `+Inf`.
///
/// Half a millisecond is where a gateway that answers by itself lies, ten seconds is where clients have given
/// up; between, each step is 2 to 2.5 times the one before, which bounds the error of an estimated quantile.
pub const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// The same bounds in seconds, as the `le` label has them.
const BUCKETS_LE: [&str; 14] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
    "10",
];

/// A number that only grows. Meaningful to the registry that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter(u32);

/// A number that goes up and down: the sum of what all workers added and took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gauge(u32);

/// Durations sorted into [`BUCKETS_US`], with their sum and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Histogram(u32);

/// Labels of a series: names from the code, values from configuration or closed sets.
pub type Labels<'a> = &'a [(&'static str, &'a str)];
