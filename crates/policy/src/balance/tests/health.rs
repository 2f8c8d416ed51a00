//! Active checks, and both observers together.

use super::{Balance, Change, EndpointState, Health, START, after, eject, plan, pool_of};

/// Checks in order, `+` good and `-` failed, with what each changes: `h`, `u` or `.`.
#[track_caller]
fn check(healthy_after: u32, unhealthy_after: u32, results: &str, expected: &str) {
    let endpoint = EndpointState::new(1);
    let changes: String = results
        .chars()
        .map(|result| match endpoint.checked(result == '+', healthy_after, unhealthy_after, START) {
            Some(Change::BecameHealthy) => 'h',
            Some(Change::BecameUnhealthy) => 'u',
            None => '.',
            other => panic!("a check does not lead to {other:?}"),
        })
        .collect();
    assert_eq!(changes, expected, "{results} with {healthy_after} and {unhealthy_after}");
}

#[test]
fn results_in_a_row_decide() {
    check(2, 3, "++++", "....");
    check(2, 3, "---", "..u");
    check(2, 3, "--+--+---", "........u");
    check(2, 3, "---++", "..u.h");
    check(2, 3, "---+-+-++---", "..u.....h..u");
    check(1, 1, "-+-+", "uhuh");
    check(0, 0, "-+", "uh");
}

#[test]
fn what_a_row_began_before_the_verdict_counts_on_for_nothing() {
    check(3, 1, "++-+++", "..u..h");
}

#[test]
fn checks_and_ejection_do_not_undo_each_other() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    let endpoint = &pool.endpoints()[0];
    eject(&pool, 0, START);
    // Good checks do not end an ejection: a health page that works says little about requests.
    assert_eq!(endpoint.checked(true, 1, 1, after(10)), None);
    assert_eq!(endpoint.health(after(10)), Health::Ejected);
    // Failed checks outweigh it, and outlast it.
    assert_eq!(endpoint.checked(false, 1, 1, after(20)), Some(Change::BecameUnhealthy));
    assert_eq!(endpoint.health(after(20)), Health::Unhealthy);
    assert_eq!(endpoint.health(after(2_000)), Health::Unhealthy);
    assert_eq!(endpoint.returned(after(2_000)), Some(Change::Returned));
    assert_eq!(endpoint.health(after(2_000)), Health::Unhealthy);
    assert_eq!(endpoint.checked(true, 1, 1, after(2_001)), Some(Change::BecameHealthy));
    assert_eq!(endpoint.health(after(2_001)), Health::Healthy);
}

#[test]
fn healthy_again_by_checks_is_still_ejected() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    let endpoint = &pool.endpoints()[0];
    eject(&pool, 0, START);
    endpoint.checked(false, 1, 1, after(1));
    assert_eq!(endpoint.checked(true, 1, 1, after(2)), Some(Change::BecameHealthy));
    assert_eq!(endpoint.health(after(3)), Health::Ejected);
    assert_eq!(endpoint.health(after(1_000)), Health::Healthy);
}

#[test]
fn checks_that_are_switched_off_leave_nothing_behind() {
    let endpoint = EndpointState::new(1);
    assert_eq!(endpoint.unchecked(START), None);
    endpoint.checked(false, 2, 2, START);
    endpoint.checked(false, 2, 2, START);
    assert_eq!(endpoint.health(START), Health::Unhealthy);
    assert_eq!(endpoint.unchecked(after(1)), Some(Change::BecameHealthy));
    assert_eq!(endpoint.health(after(1)), Health::Healthy);
    // And no half of a row either.
    endpoint.checked(false, 2, 2, after(2));
    endpoint.unchecked(after(2));
    assert_eq!(endpoint.checked(false, 2, 2, after(3)), None);
}
