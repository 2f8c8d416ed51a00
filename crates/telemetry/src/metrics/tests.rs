use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::strict::{Values, read};
use super::{BUCKETS_US, Registry, SERIES_MAX};

fn scrape(registry: &Registry) -> Values {
    let text = registry.render();
    read(&text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

#[test]
fn what_only_the_code_can_get_wrong_is_refused_at_once() {
    type Wrong = fn(&Registry);
    let wrong: [(&str, Wrong); 6] = [
        ("an empty name", |r| _ = r.counter("", "h", &[])),
        ("a name with a dash", |r| _ = r.counter("a-b", "h", &[])),
        ("a label that begins with a digit", |r| _ = r.gauge("a", "h", &[("1", "x")])),
        ("a label that histograms use", |r| _ = r.histogram("a", "h", &[("le", "x")])),
        ("a label twice", |r| _ = r.gauge("a", "h", &[("x", "1"), ("x", "2")])),
        ("two kinds under one name", |r| {
            _ = r.gauge("a", "h", &[]);
            _ = r.counter("a", "h", &[]);
        }),
    ];
    for (what, call) in wrong {
        let registry = Registry::new();
        assert!(catch_unwind(AssertUnwindSafe(|| call(&registry))).is_err(), "{what}");
        scrape(&registry);
    }
}

#[test]
fn past_the_limit_series_share_one_named_other() {
    let registry = Registry::new();
    let cells = registry.worker();
    let first = registry.counter("many_total", "h", &[("n", "0"), ("kind", "x")]);
    let (mut all, mut overflow) = (Vec::new(), Vec::new());
    for n in 1..SERIES_MAX + 40 {
        let text = n.to_string();
        let counter = registry.counter("many_total", "h", &[("n", &text), ("kind", "x")]);
        all.push(counter);
        if n >= SERIES_MAX - 1 {
            cells.inc(counter);
            overflow.push(counter);
        }
    }
    assert!(overflow.iter().all(|counter| *counter == overflow[0]));
    let shared_from = all.iter().position(|counter| *counter == overflow[0]).unwrap();
    assert!(
        all[shared_from..].iter().all(|counter| *counter == overflow[0]),
        "no series of its own is shared"
    );
    assert_eq!(registry.counter("many_total", "h", &[("kind", "x"), ("n", "0")]), first, "known ones stay");
    let late = registry.counter("late_total", "h", &[]);
    assert_ne!(late, overflow[0], "a family has its own overflow");
    let values = scrape(&registry);
    assert_eq!(values["many_total{kind=\"other\",n=\"other\"}"], overflow.len() as f64);
    assert!(values["mainstay_metric_series_overflow_total"] >= overflow.len() as f64);
    assert_eq!(values["late_total"], 0.0);
    let gauge = registry.gauge("other_kind", "h", &[("n", "0")]);
    cells.gauge_add(gauge, 1);
    assert_eq!(scrape(&registry)["other_kind{n=\"0\"}"], 1.0, "kinds are limited by themselves");
}

#[test]
fn untouched_series_are_left_out_and_values_are_escaped() {
    let registry = Registry::new();
    registry.counter("plain_total", "h", &[]);
    registry.gauge("plain", "with \\ and\nnewline", &[]);
    registry.histogram("plain_seconds", "h", &[]);
    registry.counter("labelled_total", "h", &[("a", "b")]);
    let gauge = registry.gauge("labelled", "h", &[("a", "q\"uo\\te\n, x=\"1\"} 7")]);
    let text = registry.render();
    assert!(text.contains("# HELP plain with \\\\ and\\nnewline\n"), "{text}");
    let values = scrape(&registry);
    let names: Vec<_> = values.keys().map(String::as_str).collect();
    assert_eq!(names, ["mainstay_metric_series_overflow_total", "plain", "plain_total"]);
    let cells = registry.worker();
    cells.gauge_add(gauge, 2);
    cells.gauge_add(gauge, -2);
    let back_to_zero = scrape(&registry);
    assert_eq!(back_to_zero["labelled{a=\"q\\\"uo\\\\te\\n, x=\\\"1\\\"} 7\"}"], 0.0);
}

#[test]
fn buckets_hold_their_bound() {
    let registry = Registry::new();
    let histogram = registry.histogram("took_seconds", "h", &[("a", "b")]);
    let cells = registry.worker();
    for bound in BUCKETS_US {
        cells.observe_us(histogram, bound);
        cells.observe_us(histogram, bound + 1);
    }
    cells.observe_us(histogram, 0);
    let values = scrape(&registry);
    let bucket = |le: &str| values[&format!("took_seconds_bucket{{a=\"b\",le=\"{le}\"}}")];
    assert_eq!((bucket("0.0005"), bucket("0.001"), bucket("10"), bucket("+Inf")), (2.0, 4.0, 28.0, 29.0));
    let sum: u64 = BUCKETS_US.iter().map(|bound| bound * 2 + 1).sum();
    assert_eq!(values["took_seconds_sum{a=\"b\"}"], sum as f64 / 1e6);
}

#[test]
fn workers_are_added_up_and_leave_their_counts_behind() {
    let registry = Registry::new();
    let counter = registry.counter("c_total", "h", &[("a", "b")]);
    let gauge = registry.gauge("g", "h", &[]);
    let histogram = registry.histogram("h_seconds", "h", &[]);
    let (one, two) = (registry.worker(), registry.worker());
    one.add(counter, 5);
    two.inc(counter);
    one.gauge_add(gauge, 3);
    two.gauge_add(gauge, -1);
    one.observe_us(histogram, 700);
    let check = |when: &str| {
        let values = scrape(&registry);
        let seen = (values["c_total{a=\"b\"}"], values["g"], values["h_seconds_count"]);
        assert_eq!(seen, (6.0, 2.0, 1.0), "{when}");
    };
    check("both count");
    drop(one);
    check("one has ended");
    drop(two);
    let three = registry.worker();
    check("both have ended, unseen by a scrape");
    drop(three);
    check("an idle one has ended");
    assert_eq!(registry.counter("c_total", "other help", &[("a", "b")]), counter, "a reload finds it again");
}

#[test]
fn callbacks_add_to_a_scrape_while_their_owner_lives() {
    let registry = Registry::new();
    let cells = registry.worker();
    cells.inc(registry.counter("shared_total", "h", &[("a", "b")]));
    let again = Arc::downgrade(&registry);
    registry.observe_on_scrape(move |scrape| {
        scrape.counter("shared_total", "h", &[("a", "b")], 41);
        scrape.gauge("ratio", "h", &[], 0.5);
        scrape.gauge("limit", "h", &[("of", "nothing")], f64::INFINITY);
        // A callback may register: the lock is not held.
        again.upgrade().unwrap().counter("late_total", "h", &[]);
    });
    let owner = Arc::new(7_u8);
    registry.observe_while(Arc::downgrade(&owner), |value, scrape| {
        scrape.gauge("owned", "h", &[], f64::from(*value));
    });
    let values = scrape(&registry);
    assert_eq!((values["shared_total{a=\"b\"}"], values["ratio"], values["owned"]), (42.0, 0.5, 7.0));
    assert_eq!(values["limit{of=\"nothing\"}"], f64::INFINITY);
    drop(owner);
    assert!(!scrape(&registry).contains_key("owned"));
    assert!(!scrape(&registry).contains_key("owned"), "and it is forgotten");
}

#[test]
fn counters_never_go_back_while_workers_come_and_go() {
    let registry = Registry::new();
    let counter = registry.counter("c_total", "h", &[("a", "b")]);
    let histogram = registry.histogram("h_seconds", "h", &[]);
    const ROUNDS: u64 = 20;
    const COUNTS: u64 = 2_000;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let cells = registry.worker();
                        for us in 0..COUNTS {
                            cells.inc(counter);
                            cells.observe_us(histogram, us);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let (mut counted, mut observed) = (0.0, 0.0);
            while !done.load(Ordering::Relaxed) {
                let values = scrape(&registry);
                let now = values.get("c_total{a=\"b\"}").copied().unwrap_or(0.0);
                let seen = values.get("h_seconds_count").copied().unwrap_or(0.0);
                assert!(now >= counted && seen >= observed, "{now} after {counted}, {seen} after {observed}");
                (counted, observed) = (now, seen);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let values = scrape(&registry);
    assert_eq!(values["c_total{a=\"b\"}"], (2 * ROUNDS * COUNTS) as f64);
    assert_eq!(values["h_seconds_count"], (2 * ROUNDS * COUNTS) as f64);
}
