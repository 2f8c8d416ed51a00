//! The peak EWMA.

use super::super::latency::PeakEwma;
use super::{MonoMs, START, after};

fn at(ewma: &PeakEwma, now: MonoMs) -> f64 {
    ewma.at(now).unwrap()
}

#[test]
fn slower_is_believed_at_once_and_faster_slowly() {
    let ewma = PeakEwma::default();
    assert_eq!((ewma.at(START), ewma.last_us()), (None, None));
    ewma.observe(1_000, START);
    assert_eq!(ewma.last_us(), Some(1_000));
    ewma.observe(80_000, START);
    assert_eq!(ewma.last_us(), Some(80_000));
    ewma.observe(1_000, START);
    assert_eq!(ewma.last_us(), Some(80_000), "in the same millisecond a faster one weighs nothing");
    ewma.observe(1_000, after(1_000));
    let value = at(&ewma, after(1_000));
    assert!((71_000.0..74_000.0).contains(&value), "after a tenth of the time constant: {value}");
    ewma.observe(90_000, after(1_001));
    assert_eq!(ewma.last_us(), Some(90_000));
}

/// How many samples there are must not matter, only how much time passes.
#[test]
fn the_time_constant_holds_at_every_rate() {
    for every_ms in [1, 7, 100, 500] {
        let ewma = PeakEwma::default();
        ewma.observe(100_000, START);
        for ms in (every_ms..=10_000).step_by(every_ms as usize) {
            ewma.observe(10, after(ms));
        }
        let value = at(&ewma, after(10_000));
        assert!((35_500.0..37_500.0).contains(&value), "every {every_ms} ms: {value}");
    }
}

#[test]
fn it_is_forgotten_while_nothing_is_measured() {
    let ewma = PeakEwma::default();
    ewma.observe(5_000_000, START);
    let values: Vec<f64> = [0, 1_000, 10_000, 60_000, 300_000].map(|ms| at(&ewma, after(ms))).into();
    assert!(values.is_sorted_by(|a, b| a > b), "{values:?}");
    assert!((1_800_000.0..2_000_000.0).contains(&values[2]), "{values:?}");
    assert!(values[4] < 100.0, "{values:?}");
    assert_eq!(ewma.last_us(), Some(5_000_000));
}

#[test]
fn clocks_that_go_back_and_wrap_do_no_harm() {
    let ewma = PeakEwma::default();
    ewma.observe(1_000, START);
    ewma.observe(500, MonoMs(START.0 - 5));
    assert_eq!(at(&ewma, MonoMs(START.0 - 5)), 1_000.0);
    assert_eq!(at(&ewma, START), 1_000.0, "time in the word does not go back");

    let ewma = PeakEwma::default();
    let end = u64::from(u32::MAX);
    ewma.observe(1_000, MonoMs(end));
    let value = at(&ewma, MonoMs(end + 10_000));
    assert!((380.0..400.0).contains(&value), "{value}");
}

#[test]
fn extremes() {
    let ewma = PeakEwma::default();
    ewma.observe(0, START);
    assert_eq!(ewma.last_us(), Some(1), "a measurement of 0 is one");
    ewma.observe(u64::MAX, START);
    assert!(at(&ewma, START) > 1e19);
}
