//! Which endpoint is asked, and which are left out.

use super::{Act, BUSY, GET, OK, Upstream, ask, rig, status};
use crate::paused::paused;

fn good() -> Upstream {
    Upstream::new(|_| Act::Say(OK))
}

#[test]
fn a_bad_endpoint_of_two_or_three_is_left_out_and_comes_back() {
    for others in [1, 2] {
        paused(async move {
            let bad = Upstream::new(|n| if n < 12 { Act::Say(BUSY) } else { Act::Say(OK) });
            let mut all = vec![bad.clone()];
            all.resize_with(others + 1, good);
            let rig =
                rig(&all, ", balance: round_robin, retries: off, breaker: off, eject: { time: 10s }", "");
            let mut failed = 0;
            for _ in 0..60 {
                failed += usize::from(status(&ask(&rig, GET).await) != 200);
            }
            assert_eq!((failed, bad.requests()), (5, 5), "left out after five in a row");
            let series = "mainstay_upstream_endpoints{health=\"ejected\",upstream=\"up\"}";
            let _ = series;
            tokio::time::sleep(std::time::Duration::from_secs(11)).await;
            for _ in 0..60 {
                ask(&rig, GET).await;
            }
            assert!(bad.requests() > 5, "it is asked again");
        });
    }
}

#[test]
fn the_last_healthy_one_is_never_left_out() {
    paused(async {
        let (one, other) = (Upstream::new(|_| Act::Say(BUSY)), Upstream::new(|_| Act::Say(BUSY)));
        let rig = rig(&[one.clone(), other.clone()], ", retries: off, breaker: off", "");
        for n in 1..=100 {
            assert_eq!(status(&ask(&rig, GET).await), 503);
            assert_eq!(one.requests() + other.requests(), n, "somebody is asked");
        }
    });
}

#[test]
fn a_slow_endpoint_gets_less_and_a_failing_one_draws_no_traffic() {
    paused(async {
        let (slow, fast) = (Upstream::new(|_| Act::Later(300, OK)), Upstream::new(|_| Act::Later(10, OK)));
        let rig = rig(&[slow.clone(), fast.clone()], "", "");
        for _ in 0..100 {
            ask(&rig, GET).await;
        }
        assert!(slow.requests() <= 5, "{} {}", slow.requests(), fast.requests());

        // A refusal is quick, which must not look like an idle endpoint.
        let (bad, fine) = (Upstream::new(|_| Act::Say(BUSY)), Upstream::new(|_| Act::Later(10, OK)));
        let rig = super::rig(&[bad.clone(), fine.clone()], ", retries: off, breaker: off, eject: off", "");
        for _ in 0..100 {
            ask(&rig, GET).await;
        }
        assert!(bad.requests() <= 25, "{} {}", bad.requests(), fine.requests());
    });
}

#[test]
fn weights_and_hashes_decide() {
    paused(async {
        let (one, other) = (good(), good());
        let text = super::config(&["127.0.0.1:1", "127.0.0.2:1"], ", balance: round_robin", "")
            .replace("\"http://127.0.0.1:1\"", "{ url: \"http://127.0.0.1:1\", weight: 3 }");
        let rig = super::rig_of(&text, &[one.clone(), other.clone()]);
        for _ in 0..40 {
            ask(&rig, GET).await;
        }
        assert_eq!((one.requests(), other.requests()), (30, 10));

        let both = [good(), good()];
        let rig = super::rig(&both, ", balance: \"hash: header:x-account\"", "");
        let of = |account: &str| GET.replace("Host: a\r\n", &format!("Host: a\r\nX-Account: {account}\r\n"));
        for _ in 0..20 {
            ask(&rig, &of("a-17")).await;
        }
        let counts = both.each_ref().map(Upstream::requests);
        assert!(counts == [20, 0] || counts == [0, 20], "{counts:?}");
        for account in 0..40 {
            ask(&rig, &of(&account.to_string())).await;
        }
        assert!(both.iter().all(|one| one.requests() > 5), "other accounts are spread");
    });
}

/// One of three is there for a second and gone for the next: refused, reset or busy, no client notices.
#[test]
fn an_endpoint_that_comes_and_goes_is_not_noticed() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    const RESET: Act = Act::Break("");
    for (request, gone) in [(GET, Some(Act::Say(BUSY))), (GET, Some(RESET)), (GET, None), (super::POST, None)]
    {
        paused(async move {
            let is_gone = Arc::new(AtomicBool::new(false));
            let (seen, act) = (Arc::clone(&is_gone), gone.clone());
            let flaps = Upstream::new(move |_| match &act {
                Some(act) if seen.load(Ordering::SeqCst) => act.clone(),
                _ => Act::Later(5, OK),
            });
            let fine = || Upstream::new(|_| Act::Later(5, OK));
            let rig = rig(&[flaps.clone(), fine(), fine()], "", "");
            // A second's worth of the floor is saved up, as in any engine that has run for a second.
            tokio::time::sleep(Duration::from_secs(1)).await;
            for n in 0..1000 {
                if n % 50 == 0 {
                    let now_gone = !is_gone.load(Ordering::SeqCst);
                    is_gone.store(now_gone, Ordering::SeqCst);
                    flaps.refuse(now_gone && gone.is_none());
                }
                let answer = ask(&rig, request).await;
                assert_eq!(status(&answer), 200, "{n} {answer}");
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            assert!(flaps.requests() > 20, "{}", flaps.requests());
        });
    }
}

/// An answer that comes byte by byte is passed on as it comes, and one that stops is cut off.
#[test]
fn an_answer_that_drips_is_passed_on_and_one_that_stops_ends() {
    use mainstay::Output;
    use mainstay_core::clock::Clock;
    use mainstay_testkit::memory::Scripted;
    use std::time::Duration;

    paused(async {
        let (mut upstream, dial) = Scripted::new();
        let text = super::config(&["127.0.0.1:1"], "", "timeouts: { attempt: 5s, total: 10s, idle: 3s }");
        let rig = mainstay_testkit::rig::Rig::start(&text, Clock::System, Output::None, &dial);
        let mut client = rig.connect();
        client.send(GET).await;
        let mut service = upstream.accept().await;
        service.read_until("\r\n\r\n").await;
        service.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            service.send("1\r\nx\r\n").await;
            client.read_until("1\r\nx\r\n").await;
        }
        // It stops: nothing is sent again, for its head was passed on.
        assert_eq!(client.read_to_end().await, "");
        assert!(upstream.is_idle());
        assert_eq!(rig.metric("mainstay_upstream_in_flight"), Some(0.0));
    });
}
