//! The cells themselves: pages of atomics with one writer and any number of readers.
//!
//! One writer means that a plain load and store cannot lose a count, so no locked instruction is needed.
//! Readers use relaxed loads: each cell by itself is exact and never goes back; two cells read one after the
//! other may differ by the requests that ended between.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::{BUCKETS_US, Counter, Gauge, Histogram, SERIES_MAX};

/// Words of one histogram: its buckets, `+Inf`, and the sum in microseconds. Two cache lines.
pub(super) const HISTOGRAM_WORDS: usize = BUCKETS_US.len() + 2;
const SUM: usize = HISTOGRAM_WORDS - 1;

const PAGE_WORDS: usize = 512;
const SCALAR_PAGES: usize = SERIES_MAX / PAGE_WORDS;
const HISTOGRAM_PAGE_WORDS: usize = 1024;
const HISTOGRAM_PAGES: usize = SERIES_MAX * HISTOGRAM_WORDS / HISTOGRAM_PAGE_WORDS;

/// Words in pages that are allocated when one of their words is first written.
struct Table<const PAGES: usize, const WORDS: usize> {
    pages: [OnceLock<Box<[AtomicU64; WORDS]>>; PAGES],
}

impl<const PAGES: usize, const WORDS: usize> Table<PAGES, WORDS> {
    const fn new() -> Self {
        Self { pages: [const { OnceLock::new() }; PAGES] }
    }

    /// The word to write; allocates its page at the first touch.
    #[inline]
    fn touch(&self, index: usize) -> &AtomicU64 {
        let page = &self.pages[index / WORDS];
        let words = page.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
        &words[index % WORDS]
    }

    /// The word's value; 0 where nothing was ever written.
    fn read(&self, index: usize) -> u64 {
        self.pages[index / WORDS].get().map_or(0, |words| words[index % WORDS].load(Ordering::Relaxed))
    }

    /// Calls `f` with the index and value of each word of the touched pages that is not 0.
    fn each(&self, mut f: impl FnMut(usize, u64)) {
        for (page, words) in self.pages.iter().enumerate() {
            let Some(words) = words.get() else { continue };
            for (at, word) in words.iter().enumerate() {
                let value = word.load(Ordering::Relaxed);
                if value != 0 {
                    f(page * WORDS + at, value);
                }
            }
        }
    }
}

/// Adds to a word that only the caller writes.
#[inline]
fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Adds to a gauge's word. The lowest bit says that the gauge was ever touched, so that a gauge that went back
/// to 0 is still shown; the value stands above it.
#[inline]
fn add_signed(word: &AtomicU64, n: i64) {
    let value = word.load(Ordering::Relaxed).wrapping_add(n.cast_unsigned() << 1);
    word.store(value | 1, Ordering::Relaxed);
}

/// All cells of one worker.
pub(super) struct Pages {
    counters: Table<SCALAR_PAGES, PAGE_WORDS>,
    gauges: Table<SCALAR_PAGES, PAGE_WORDS>,
    histograms: Table<HISTOGRAM_PAGES, HISTOGRAM_PAGE_WORDS>,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { counters: Table::new(), gauges: Table::new(), histograms: Table::new() }
    }

    pub(super) fn counter(&self, id: u32) -> u64 {
        self.counters.read(id as usize)
    }

    /// The value, or nothing where this worker never touched it.
    pub(super) fn gauge(&self, id: u32) -> Option<i64> {
        let word = self.gauges.read(id as usize);
        (word & 1 == 1).then_some(word.cast_signed() >> 1)
    }

    /// Adds this worker's buckets and sum to `into`.
    pub(super) fn histogram(&self, id: u32, into: &mut [u64; HISTOGRAM_WORDS]) {
        let first = id as usize * HISTOGRAM_WORDS;
        for (at, word) in into.iter_mut().enumerate() {
            *word = word.wrapping_add(self.histograms.read(first + at));
        }
    }

    pub(super) fn add_counter(&self, id: u32, n: u64) {
        add(self.counters.touch(id as usize), n);
    }

    /// Takes over everything that `other`, whose worker has ended, had counted.
    pub(super) fn absorb(&self, other: &Self) {
        other.counters.each(|at, value| add(self.counters.touch(at), value));
        other.gauges.each(|at, word| add_signed(self.gauges.touch(at), word.cast_signed() >> 1));
        other.histograms.each(|at, value| add(self.histograms.touch(at), value));
    }
}

/// A worker's own cells. It may move to the worker's thread, but not be shared: there is one writer.
pub struct Cells {
    pages: Arc<Pages>,
    /// Makes the type `!Sync`.
    one_writer: PhantomData<Cell<()>>,
}

impl Cells {
    pub(super) fn new(pages: Arc<Pages>) -> Self {
        Self { pages, one_writer: PhantomData }
    }

    /// Counts one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        add(self.pages.counters.touch(counter.0 as usize), n);
    }

    /// Moves a gauge up, or down with a negative `n`. What one worker added another may take away.
    #[inline]
    pub fn gauge_add(&self, gauge: Gauge, n: i64) {
        add_signed(self.pages.gauges.touch(gauge.0 as usize), n);
    }

    /// Counts a duration of `us` microseconds.
    #[inline]
    pub fn observe_us(&self, histogram: Histogram, us: u64) {
        // Comparing with all bounds has no branch to mispredict and is a few vector instructions.
        let bucket: usize = BUCKETS_US.iter().map(|bound| usize::from(us > *bound)).sum();
        let first = histogram.0 as usize * HISTOGRAM_WORDS;
        add(self.pages.histograms.touch(first + bucket), 1);
        add(self.pages.histograms.touch(first + SUM), us);
    }
}
