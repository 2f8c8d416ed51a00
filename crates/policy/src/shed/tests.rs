use std::collections::HashSet;
use std::sync::Arc;

use mainstay_core::Priority;
use mainstay_core::clock::MonoMs;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{Asked, Gate, LIMIT_MIN, LimitPlan, Queued, Rate, ShedPlan, Why};

const NOW: MonoMs = MonoMs(10_000);

fn fixed(limit: u32, queue: u32) -> Gate<u32> {
    Gate::new(ShedPlan { limit: LimitPlan::Fixed(limit), queue, queue_wait_ms: 200 })
}

fn waits(gate: &Gate<u32>, id: u32, priority: Priority, caller: u64, now: MonoMs) -> super::Ticket {
    match gate.queue(id, priority, caller, now) {
        Asked { queued: Queued::Waiting(ticket), pushed_out: None, called: None } => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_waits_and_what_does_not_fit_there_is_refused() {
    let gate = fixed(2, 2);
    assert!(gate.enter(Priority::Normal, NOW) && gate.enter(Priority::Normal, NOW));
    assert!(!gate.enter(Priority::Critical, NOW));
    waits(&gate, 1, Priority::Normal, 1, NOW);
    waits(&gate, 2, Priority::Normal, 2, NOW);
    let refused = gate.queue(3, Priority::Normal, 3, NOW).queued;
    assert!(matches!(refused, Queued::Refused { why: Why::QueueFull, waiter: 3 }), "{refused:?}");
    assert_eq!(gate.leave(|| NOW), Some(1));
    assert_eq!((gate.in_flight(), gate.waiting(Priority::Normal)), (2, 1));
}

#[test]
fn low_is_refused_before_critical_ever_waits() {
    let gate = fixed(10, 4);
    for _ in 0..10 {
        assert!(gate.enter(Priority::Low, NOW), "while nothing is scarce all are alike");
    }
    waits(&gate, 1, Priority::Low, 1, NOW);
    assert_eq!(gate.leave(|| NOW), None, "nine are in: low may fill eight");
    assert_eq!(gate.leave(|| NOW), None);
    // Somebody waits, so nobody passes by the queue; the more important one is first in it.
    assert!(matches!(gate.queue(2, Priority::Critical, 2, NOW).queued, Queued::Admitted(2)));
    assert_eq!((gate.in_flight(), gate.waiting(Priority::Low)), (9, 1));
    let ticket = waits(&gate, 3, Priority::Low, 3, NOW);
    assert!(gate.give_up(ticket) && !gate.give_up(ticket));
}

#[test]
fn a_full_queue_makes_room_for_what_is_more_important() {
    let gate = fixed(1, 2);
    assert!(gate.enter(Priority::Low, NOW));
    waits(&gate, 1, Priority::Low, 1, NOW);
    waits(&gate, 2, Priority::High, 2, NOW);
    let Asked { queued, pushed_out, .. } = gate.queue(3, Priority::Critical, 3, NOW);
    assert!(matches!(queued, Queued::Waiting(_)));
    assert_eq!(pushed_out, Some(1));
    assert!(matches!(gate.queue(4, Priority::High, 4, NOW).queued, Queued::Refused { .. }));
    assert_eq!(gate.leave(|| NOW), Some(3));
    assert_eq!(gate.leave(|| NOW), Some(2));
}

#[test]
fn one_caller_has_half_of_the_queue_at_most() {
    let gate = fixed(1, 4);
    assert!(gate.enter(Priority::Normal, NOW));
    waits(&gate, 1, Priority::Normal, 7, NOW);
    waits(&gate, 2, Priority::Normal, 7, NOW);
    let refused = gate.queue(3, Priority::Critical, 7, NOW).queued;
    assert!(matches!(refused, Queued::Refused { why: Why::CallerFull, .. }), "{refused:?}");
    waits(&gate, 4, Priority::Normal, 8, NOW);
}

#[test]
fn the_oldest_is_first_and_in_an_overload_the_newest() {
    let gate = fixed(1, 8);
    assert!(gate.enter(Priority::Normal, NOW));
    for id in 0..4 {
        waits(&gate, id, Priority::Normal, u64::from(id), NOW);
    }
    assert_eq!(gate.leave(|| MonoMs(NOW.0 + 50)), Some(0));
    assert_eq!(gate.leave(|| MonoMs(NOW.0 + 101)), Some(3));
}

/// Feeds an adaptive limit with an upstream of so many slots, whose latency grows with what is above them.
fn settle(slots: u32, base_us: u64, rounds: u64) -> u32 {
    let gate: Gate<u32> =
        Gate::new(ShedPlan { limit: LimitPlan::Adaptive { max: 512 }, queue: 0, queue_wait_ms: 1 });
    for round in 0..rounds {
        let now = MonoMs(1_000 + round * 100);
        // The engine starts with little traffic, as engines do.
        let most = if round < 5 { 2 } else { u32::MAX };
        while gate.in_flight() < most && gate.enter(Priority::Critical, now) {}
        let in_flight = gate.in_flight();
        let us = base_us * u64::from(in_flight.max(slots)) / u64::from(slots);
        for _ in 0..30 {
            gate.sample(us, false, now);
        }
        for _ in 0..in_flight {
            gate.leave(|| now);
        }
    }
    gate.limit()
}

#[test]
fn an_adaptive_limit_finds_the_capacity_from_below_and_stays_near_it() {
    for slots in [8, 50, 200] {
        let limit = settle(slots, 10_000, 400);
        assert!(limit >= slots * 9 / 10 && limit <= slots * 5 / 2 + 8, "{slots}: {limit}");
    }
}

#[test]
fn an_adaptive_limit_grows_only_in_use_and_shrinks_on_drops() {
    let gate: Gate<u32> =
        Gate::new(ShedPlan { limit: LimitPlan::Adaptive { max: 512 }, queue: 0, queue_wait_ms: 1 });
    let first = gate.limit();
    for round in 0..100 {
        for _ in 0..30 {
            gate.sample(10_000, false, MonoMs(1_000 + round * 100));
        }
    }
    assert_eq!(gate.limit(), first, "nothing was in flight");
    for round in 0..100 {
        gate.sample(10_000, true, MonoMs(100_000 + round * 100));
    }
    assert_eq!(gate.limit(), LIMIT_MIN);
}

#[test]
fn a_rate_lets_a_burst_go_makes_others_wait_and_sheds_the_rest() {
    let rate = Rate::new(10.0, 2.0);
    assert_eq!(rate.reserve(1_000_000, 250_000), Some(0));
    assert_eq!(rate.reserve(1_000_000, 250_000), Some(0));
    assert_eq!(rate.reserve(1_000_000, 250_000), Some(100_000));
    assert_eq!(rate.reserve(1_000_000, 250_000), Some(200_000));
    assert_eq!(rate.reserve(1_000_000, 250_000), None);
    assert_eq!(rate.reserve(1_100_000, 250_000), Some(200_000), "what is shed takes nothing");
}

proptest! {
    #[test]
    fn a_rate_is_never_exceeded(
        steps in proptest::collection::vec((0..50_000_u64, 0..100_000_u64), 1..300),
        per_second in 1.0..1000.0_f64,
    ) {
        let rate = Rate::new(per_second, 3.0);
        let (mut now, mut left) = (1_000_000, Vec::new());
        for (step_us, wait_max_us) in steps {
            now += step_us;
            if let Some(wait_us) = rate.reserve(now, wait_max_us) {
                prop_assert!(wait_us <= wait_max_us + 1);
                left.push(now + wait_us);
            }
        }
        left.sort_unstable();
        for (i, from) in left.iter().enumerate() {
            let within = left[i..].iter().filter(|at| **at < from + 1_000_000).count();
            prop_assert!(within as f64 <= per_second + 4.0, "{within}");
        }
    }

    /// Whatever comes in whatever order: places are neither lost nor doubled, and nobody waits for ever beside a free one.
    #[test]
    fn places_are_neither_lost_nor_doubled(
        steps in proptest::collection::vec((0..6_u8, 0..4_usize, 0..5_u64, 0..150_u64), 1..400),
        limit in 1..6_u32,
        queue in 0..5_u32,
    ) {
        let gate = fixed(limit, queue);
        let (mut now, mut next_id) = (NOW.0, 0_u32);
        let mut inside = 0_u32;
        let mut waiting: Vec<(u32, super::Ticket)> = Vec::new();
        let mut called = HashSet::new();
        for (step, class, caller, ms) in steps {
            now += ms;
            let (at, priority) = (MonoMs(now), Priority::ALL[class]);
            match step {
                0..=2 => {
                    if gate.enter(priority, at) {
                        inside += 1;
                    } else {
                        next_id += 1;
                        let Asked { queued, pushed_out, called: also } = gate.queue(next_id, priority, caller, at);
                        if let Queued::Waiting(ticket) = &queued {
                            waiting.push((next_id, *ticket));
                        }
                        if let Some(id) = also {
                            prop_assert!(called.insert(id), "called twice");
                            prop_assert!(waiting.iter().any(|(of, _)| *of == id));
                            waiting.retain(|(of, _)| *of != id);
                            inside += 1;
                        }
                        if let Some(out) = pushed_out {
                            prop_assert!(waiting.iter().any(|(id, _)| *id == out));
                            waiting.retain(|(id, _)| *id != out);
                        }
                        match queued {
                            Queued::Admitted(id) => {
                                prop_assert_eq!(id, next_id);
                                inside += 1;
                            }
                            Queued::Waiting(_) => {}
                            Queued::Refused { waiter, .. } => prop_assert_eq!(waiter, next_id),
                        }
                    }
                }
                3 | 4 if inside > 0 => {
                    inside -= 1;
                    let mut next = gate.leave(|| at);
                    while let Some(id) = next {
                        prop_assert!(called.insert(id), "called twice");
                        prop_assert!(waiting.iter().any(|(of, _)| *of == id));
                        waiting.retain(|(of, _)| *of != id);
                        inside += 1;
                        next = gate.next(at);
                    }
                }
                5 if !waiting.is_empty() => {
                    let (_, ticket) = waiting.remove(caller as usize % waiting.len());
                    prop_assert!(gate.give_up(ticket));
                }
                _ => {}
            }
            prop_assert_eq!(gate.in_flight(), inside);
            prop_assert!(inside <= limit);
            let total: u32 = Priority::ALL.iter().map(|p| gate.waiting(*p)).sum();
            prop_assert_eq!(total as usize, waiting.len());
            prop_assert!(inside > 0 || waiting.is_empty(), "somebody waits beside nothing but free places");
        }
    }
}

type Waker = std::sync::mpsc::SyncSender<()>;

fn call(gate: &Gate<Waker>, mut next: Option<Waker>) {
    while let Some(waiter) = next {
        next = if waiter.send(()).is_ok() { gate.next(NOW) } else { gate.leave(|| NOW) };
    }
}

#[test]
fn threads_neither_lose_nor_double_places() {
    let gate =
        Arc::new(Gate::<Waker>::new(ShedPlan { limit: LimitPlan::Fixed(3), queue: 16, queue_wait_ms: 1 }));
    let peak = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let threads: Vec<_> = (0..8_u64)
        .map(|thread| {
            let (gate, peak) = (Arc::clone(&gate), Arc::clone(&peak));
            std::thread::spawn(move || {
                for n in 0..2_000_u64 {
                    let priority = Priority::ALL[(n % 4) as usize];
                    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
                    let inside = gate.enter(priority, NOW) || {
                        // Whoever is pushed out finds its sender gone.
                        let Asked { queued, pushed_out, called } = gate.queue(sender, priority, thread, NOW);
                        drop(pushed_out);
                        call(&gate, called);
                        match queued {
                            Queued::Admitted(_) => true,
                            Queued::Waiting(_) => receiver.recv().is_ok(),
                            Queued::Refused { .. } => false,
                        }
                    };
                    if inside {
                        peak.fetch_max(gate.in_flight(), std::sync::atomic::Ordering::Relaxed);
                        let next = gate.leave(|| NOW);
                        call(&gate, next);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(gate.in_flight(), 0);
    assert!(peak.load(std::sync::atomic::Ordering::Relaxed) <= 3);
}
