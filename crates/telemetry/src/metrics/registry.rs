//! The registry: which series there are, and whose cells make up their values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use super::cells::{Cells, HISTOGRAM_WORDS, Pages};
use super::scrape::{Kind, Sample, Scrape, label_text};
use super::{Counter, Gauge, Histogram, Labels, SERIES_MAX, SERIES_RESERVED};
use crate::lock;

/// How many ordinary series of a kind there may be.
const ORDINARY_MAX: u32 = (SERIES_MAX - SERIES_RESERVED) as u32;
/// Where a count goes when even the overflow series have run out: it is not shown.
const LOST: u32 = SERIES_MAX as u32 - 1;

/// Called at a scrape; `false` means that it has nothing more to say and is forgotten.
type Callback = Arc<dyn Fn(&mut Scrape) -> bool + Send + Sync>;

/// All series of the engine. One for a process, shared by `Arc`, never touched on the request path.
///
/// Registering asserts what only the code can get wrong: names that Prometheus does not allow, and one name
/// for two kinds of metric.
pub struct Registry {
    series: Mutex<Series>,
    callbacks: Mutex<Vec<Callback>>,
}

struct Family {
    kind: Kind,
    help: &'static str,
    /// Ids by their labels as text, which is also the order of rendering.
    ids: BTreeMap<Arc<str>, u32>,
}

struct Series {
    families: BTreeMap<&'static str, Family>,
    ordinary: [u32; Kind::COUNT],
    overflow: [u32; Kind::COUNT],
    overflowed: Counter,
    workers: Vec<Arc<Pages>>,
    /// What workers that have ended had counted, and what the registry counts itself.
    base: Pages,
}

impl Registry {
    /// A registry with no series but its own `mainstay_metric_series_overflow_total`.
    pub fn new() -> Arc<Self> {
        let mut series = Series {
            families: BTreeMap::new(),
            ordinary: [0; Kind::COUNT],
            overflow: [0; Kind::COUNT],
            overflowed: Counter(0),
            workers: Vec::new(),
            base: Pages::new(),
        };
        series.overflowed = Counter(series.register(
            Kind::Counter,
            "mainstay_metric_series_overflow_total",
            "Registrations of metric series past the limit, counted in series with the label value other.",
            &[],
        ));
        Arc::new(Self { series: Mutex::new(series), callbacks: Mutex::new(Vec::new()) })
    }

    /// The counter of this name and these labels; the same one for the same labels in any order.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        Counter(lock(&self.series).register(Kind::Counter, name, help, labels))
    }

    /// The gauge of this name and these labels.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
        Gauge(lock(&self.series).register(Kind::Gauge, name, help, labels))
    }

    /// The histogram of this name and these labels, in seconds, with the buckets of [`super::BUCKETS_US`].
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Histogram {
        Histogram(lock(&self.series).register(Kind::Histogram, name, help, labels))
    }

    /// Has `f` asked at every scrape for values that are kept elsewhere. It is never forgotten: register it
    /// once for a process, or use [`Registry::observe_while`].
    pub fn observe_on_scrape(&self, f: impl Fn(&mut Scrape) + Send + Sync + 'static) {
        lock(&self.callbacks).push(Arc::new(move |scrape| {
            f(scrape);
            true
        }));
    }

    /// Like [`Registry::observe_on_scrape`], for as long as `owner` lives.
    pub fn observe_while<T: Send + Sync + 'static>(
        &self,
        owner: Weak<T>,
        f: impl Fn(&T, &mut Scrape) + Send + Sync + 'static,
    ) {
        lock(&self.callbacks).push(Arc::new(move |scrape| {
            let Some(owner) = owner.upgrade() else { return false };
            f(&owner, scrape);
            true
        }));
    }

    /// Cells for one more worker. The registry keeps the other end; when the worker drops its own, what it
    /// counted is added to a base that every scrape starts from.
    pub fn worker(self: &Arc<Self>) -> Cells {
        let mut series = lock(&self.series);
        series.fold_ended_workers();
        let pages = Arc::new(Pages::new());
        series.workers.push(Arc::clone(&pages));
        Cells::new(pages)
    }

    /// All metrics in the Prometheus text format 0.0.4: families by name, series by labels.
    ///
    /// A series that nothing ever touched is left out, except counters and gauges without labels, which start
    /// at 0. Callbacks run outside the registry's lock, so they may register.
    pub fn render(&self) -> String {
        let mut scrape = Scrape::default();
        let callbacks = lock(&self.callbacks).clone();
        let done: Vec<_> = callbacks.iter().filter(|callback| !callback(&mut scrape)).collect();
        if !done.is_empty() {
            lock(&self.callbacks).retain(|callback| !done.iter().any(|gone| Arc::ptr_eq(gone, callback)));
        }
        let mut series = lock(&self.series);
        series.fold_ended_workers();
        series.collect(&mut scrape);
        drop(series);
        scrape.into_text()
    }
}

impl Series {
    fn register(&mut self, kind: Kind, name: &'static str, help: &'static str, labels: Labels<'_>) -> u32 {
        let text = label_text(name, labels);
        let family = self.families.entry(name).or_insert_with(|| Family { kind, help, ids: BTreeMap::new() });
        assert!(family.kind == kind, "metric {name} is registered as two kinds");
        if let Some(id) = family.ids.get(text.as_str()) {
            return *id;
        }
        let used = &mut self.ordinary[kind as usize];
        if *used < ORDINARY_MAX {
            let id = *used;
            *used += 1;
            family.ids.insert(text.into(), id);
            return id;
        }
        self.register_overflow(kind, name, labels)
    }

    /// The series that takes what no longer fits: the family's own, with every label value `other`.
    fn register_overflow(&mut self, kind: Kind, name: &'static str, labels: Labels<'_>) -> u32 {
        self.base.add_counter(self.overflowed.0, 1);
        let others: Vec<_> = labels.iter().map(|(label, _)| (*label, "other")).collect();
        let text = label_text(name, &others);
        let Some(family) = self.families.get_mut(name) else { return LOST };
        if let Some(id) = family.ids.get(text.as_str()) {
            return *id;
        }
        let used = &mut self.overflow[kind as usize];
        let id = ORDINARY_MAX + *used;
        if id < LOST {
            *used += 1;
            family.ids.insert(text.into(), id);
        }
        id
    }

    /// Moves what ended workers have counted into the base. A worker has ended when the registry holds the
    /// only end of its cells; `get_mut` also orders its last writes before our reads.
    fn fold_ended_workers(&mut self) {
        let base = &self.base;
        self.workers.retain_mut(|pages| match Arc::get_mut(pages) {
            Some(ended) => {
                base.absorb(ended);
                false
            }
            None => true,
        });
    }

    fn collect(&self, scrape: &mut Scrape) {
        for (name, family) in &self.families {
            for (labels, id) in &family.ids {
                if let Some(sample) = self.sample(family.kind, *id, labels.is_empty()) {
                    scrape.add(family.kind, name, family.help, Arc::clone(labels), sample);
                }
            }
        }
    }

    /// The merged value of a series; nothing if it was never touched and is not `always` shown.
    fn sample(&self, kind: Kind, id: u32, always: bool) -> Option<Sample> {
        let all = || self.workers.iter().map(Arc::as_ref).chain([&self.base]);
        match kind {
            Kind::Counter => {
                let value: u64 = all().fold(0, |sum, pages| sum.wrapping_add(pages.counter(id)));
                (value != 0 || always).then_some(Sample::Integer(value.into()))
            }
            Kind::Gauge => {
                let mut touched = all().filter_map(|pages| pages.gauge(id)).peekable();
                let shown = always || touched.peek().is_some();
                shown.then(|| Sample::Integer(touched.map(i128::from).sum()))
            }
            Kind::Histogram => {
                let mut words = [0; HISTOGRAM_WORDS];
                all().for_each(|pages| pages.histogram(id, &mut words));
                words.iter().any(|word| *word != 0).then(|| Sample::Histogram(Box::new(words)))
            }
        }
    }
}
