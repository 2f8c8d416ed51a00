//! The scenes, in the order in which they are played.

use std::time::Duration;

use mainstay_payments::faults::ResetPoint;
use tokio::time::sleep;

use super::ChaosError;
use super::clients::{Kind, Load, Outcome};
use super::engine::LogLine;
use super::narrate::{Of, count, show};
use super::proof::Proof;
use super::stage::{Glance, Played, Stage};
use super::tally::{Tally, percent};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const STANDBY: usize = 3;
/// The three endpoints of the upstream.
const ALL: [usize; 3] = [A, B, C];

const PAYMENTS: (&str, &str) = ("upstream", "payments");
const BREAKER: &str = "breaker of payments";
/// Each attempt is in this histogram once.
const ATTEMPTS: &str = "http_client_request_duration_seconds";

/// What comes in on an ordinary day.
const NORMAL: Load =
    Load { per_s: 80, turns: &[Kind::Read, Kind::Payment, Kind::Read, Kind::Report, Kind::Read] };
/// Several times as much as the services can do in the scene about it.
const TOO_MUCH: Load =
    Load { per_s: 200, turns: &[Kind::Payment, Kind::Read, Kind::Report, Kind::Read, Kind::Report] };

/// What the slow endpoint takes.
const SLOW_MS: u64 = 400;
/// The share of answers that are broken off.
const BROKEN_PERCENT: u8 = 35;
/// In the overload each service works on one request at a time, for so long.
const WORK_MS: u64 = 50;
/// How long a flapping endpoint stays as it is.
const FLAP_EVERY: Duration = Duration::from_millis(300);

/// Plays all of them.
pub(super) async fn all(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    all_well(stage).await?;
    one_refuses(stage).await?;
    one_is_slow(stage).await?;
    answers_break_off(stage).await?;
    all_gone(stage).await?;
    standby_gone(stage).await?;
    recovery(stage).await?;
    too_much(stage).await?;
    flapping(stage).await
}

async fn all_well(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("All is well", NORMAL).await?;
    stage.tell(Of::Done, "Nothing. Three services answer for one upstream, a fourth one stands by.");
    stage.watch(&mut scene, Duration::from_secs(3), |now| now.outcomes.len() >= 50).await?;
    let played = stage.end(scene).await?;
    stage.tell(
        Of::Engine,
        &format!(
            "The attempts went to {}: http_client_request_duration_seconds_count by endpoint.",
            stage.attempts_of_all(&played)
        ),
    );
    Ok(())
}

async fn one_refuses(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("One of three endpoints refuses", NORMAL).await?;
    stage.kill(A)?;
    stage.tell(
        Of::Done,
        &format!("{} closes its port and resets its connections, as a process that dies.", stage.name(A)),
    );
    let address = stage.address(A);
    stage.watch(&mut scene, Duration::from_secs(4), |now| now.became(&address, "ejected") > 0).await?;
    let played = stage.end(scene).await?;
    let retries = played.grown("mainstay_retries_total", &[PAYMENTS]);
    stage.tell(
        Of::Engine,
        &format!(
            "{} {} made again at another endpoint: mainstay_retries_total grew by {retries}.",
            count(retries, "attempt"),
            were(retries)
        ),
    );
    stage.tell_ejected(&played, A);
    stage.quote(&played.log, |line| line.attempts() > 1 && line.problem().is_none());
    stage.tell(Of::Keys, "retries.on, retries.budget; eject.consecutive_failures, eject.time.");
    stage.heal()?;
    stage.tell_calm().await
}

async fn one_is_slow(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("An endpoint turns slow", NORMAL).await?;
    stage.service(B).faults().latency(SLOW_MS, 0);
    stage.tell(Of::Done, &format!("{} takes {SLOW_MS} ms for each answer.", stage.name(B)));
    stage.watch(&mut scene, Duration::from_secs(4), |now| now.outcomes.len() >= 50).await?;
    let played = stage.end(scene).await?;
    let attempts = ALL.map(|nth| stage.attempts(&played, nth));
    stage.tell(
        Of::Engine,
        &format!(
            "{} of the attempts went to the slow one: {}. That is http_client_request_duration_seconds_count by endpoint; \
             latency_ms in `mainstay upstreams` is what they are compared by.",
            percent(attempts[B], attempts.iter().sum()),
            stage.attempts_of_all(&played)
        ),
    );
    let hedges = |result| played.grown("mainstay_hedges_total", &[PAYMENTS, ("result", result)]);
    stage.tell(
        Of::Engine,
        &format!(
            "A read that takes long is asked of a second endpoint, too: mainstay_hedges_total grew by {} sent and {} won.",
            hedges("sent"),
            hedges("won")
        ),
    );
    stage.tell(Of::Keys, "balance: least_loaded; hedge.after, hedge.max_ratio.");
    stage.heal()?;
    stage.tell_calm().await
}

async fn answers_break_off(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("Answers break off in the middle", NORMAL).await?;
    for nth in [A, C] {
        stage.service(nth).faults().reset(ResetPoint::InHead, BROKEN_PERCENT);
    }
    stage.tell(
        Of::Done,
        &format!(
            "{} and {} do the work, and {BROKEN_PERCENT} % of the time reset the connection within the answer's head.",
            stage.name(A),
            stage.name(C)
        ),
    );
    let in_doubt = |outcome: &Outcome| outcome.kind == Kind::Payment && outcome.has_code("upstream_reset");
    stage.watch(&mut scene, Duration::from_secs(4), |now| now.count(in_doubt) > 0).await?;
    let played = stage.end(scene).await?;
    stage.tell_broken_off(&played);
    stage.quote(&played.log, |line| line.problem() == Some("upstream_reset"));
    stage.tell(Of::Keys, "retries.on: reset; honours_idempotency_key, which is false.");
    stage.heal()?;
    stage.tell_calm().await
}

async fn all_gone(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("All three are gone", NORMAL).await?;
    ALL.iter().try_for_each(|nth| stage.kill(*nth))?;
    stage.tell(Of::Done, "All three endpoints close their ports. The standby is well.");
    let happened =
        |now: &Glance<'_>| now.became(BREAKER, "open") > 0 && now.count(Outcome::is_degraded) >= 20;
    stage.watch(&mut scene, Duration::from_secs(3), happened).await?;
    let played = stage.end(scene).await?;
    stage.tell(
        Of::Engine,
        &match played.first(BREAKER, "open") {
            Some(opened) => format!(
                "After {} its circuit was open, and while it is, nothing is sent to the three but probes: `mainstay upstreams`, \
                 mainstay_breaker_state 2, event circuit_opened.",
                show(opened.after)
            ),
            None => "The circuit did not open in this run.".to_owned(),
        },
    );
    let degraded = played.grown("mainstay_degraded_total", &[("by", "upstream")]);
    stage.tell(
        Of::Engine,
        &format!(
            "payments_standby is asked in their place, and each such answer says so (Proxy-Status: ..; details=\"degraded\"). \
             Clients saw {}; mainstay_degraded_total grew by {degraded}.",
            played.outcomes.iter().filter(|outcome| outcome.is_degraded()).count()
        ),
    );
    stage.quote(&played.log, LogLine::is_degraded);
    stage.tell(Of::Keys, "breaker.window, breaker.failure_ratio, breaker.open; fallback.");
    Ok(())
}

async fn standby_gone(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("The standby goes, too", NORMAL).await?;
    stage.kill(STANDBY)?;
    stage.tell(Of::Done, "The standby closes its port as well. Nobody is left who could answer.");
    let refused = |outcome: &Outcome| outcome.has_code("circuit_open");
    stage.watch(&mut scene, Duration::from_secs(3), |now| now.count(refused) >= 20).await?;
    let played = stage.end(scene).await?;
    let open: Vec<_> = played.outcomes.iter().filter(|outcome| refused(outcome)).collect();
    let mut waits: Vec<_> =
        open.iter().filter_map(|outcome| outcome.answer.as_ref()?.retry_after_s).collect();
    waits.dedup();
    let waits: Vec<_> = waits.iter().map(|wait| format!("{wait} s")).collect();
    let tally = Tally::of(open);
    stage.tell(
        Of::Engine,
        &format!(
            "{} refused with 503 circuit_open, half of them within {:.1} ms instead of a timeout. Retry-After is what is left of \
             the open circuit; it said, one after the other: {}.",
            count(tally.requests, "request"),
            tally.p50_ms,
            if waits.is_empty() { "nothing".to_owned() } else { waits.join(", ") }
        ),
    );
    stage.quote(&played.log, |line| line.problem() == Some("circuit_open"));
    stage.tell(
        Of::Keys,
        "breaker.open, breaker.open_max; a last fallback of respond would give an answer of your own.",
    );
    Ok(())
}

async fn recovery(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("Recovery", NORMAL).await?;
    stage.heal()?;
    stage.tell(Of::Done, "All ports are opened again.");
    let own = |outcome: &Outcome| outcome.is_good() && !outcome.is_degraded();
    stage
        .watch(&mut scene, Duration::from_secs(3), |now| now.is(BREAKER, "closed") && now.count(own) >= 20)
        .await?;
    let played = stage.end(scene).await?;
    let first = |is: &dyn Fn(&Outcome) -> bool| {
        let found = played.outcomes.iter().filter(|outcome| is(outcome)).map(|outcome| outcome.ended).min();
        found.map_or_else(|| "never".to_owned(), |at| format!("after {}", show(at - played.began)))
    };
    stage.tell(
        Of::Engine,
        &format!(
            "The first good answer came {}, the first one of the three endpoints {}.",
            first(&|outcome| outcome.is_good()),
            first(&own)
        ),
    );
    stage.tell_circuit(&played);
    stage.tell(Of::Keys, "breaker.probes; slow_start.");
    stage.tell_calm().await
}

async fn too_much(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("Too much of it", TOO_MUCH).await?;
    for nth in ALL.into_iter().chain([STANDBY]) {
        stage.service(nth).faults().slots(1, WORK_MS);
    }
    let can_per_s = ALL.len() as u64 * 1000 / WORK_MS;
    stage.tell(
        Of::Done,
        &format!(
            "Clients send {} requests a second. Each service works on one at a time, for {WORK_MS} ms: the three can do {can_per_s} \
             a second.",
            TOO_MUCH.per_s
        ),
    );
    let shed = |outcome: &Outcome| outcome.has_code("queue_full") || outcome.has_code("queue_timeout");
    stage.watch(&mut scene, Duration::from_secs(4), |now| now.count(shed) >= 50).await?;
    let played = stage.end(scene).await?;
    for (kind, what) in [
        (Kind::Payment, "Payments (priority: critical)"),
        (Kind::Read, "Single reads (normal)"),
        (Kind::Report, "Lists (low)"),
    ] {
        let of = played.of_kind(kind);
        let text = format!("{what}: {} of {} good, {}.", of.good, of.requests, percent(of.good, of.requests));
        stage.tell(Of::Clients, &text);
    }
    let by = |reason| played.grown("mainstay_shed_total", &[PAYMENTS, ("reason", reason)]);
    stage.tell(
        Of::Engine,
        &format!(
            "At most twelve are sent at once, and others wait: up to {} were seen to (mainstay_upstream_queue_depth). \
             mainstay_shed_total grew by {} queue_full, {} queue_timeout.",
            played.waiting_most,
            by("queue_full"),
            by("queue_timeout")
        ),
    );
    stage.quote(&played.log, |line| line.problem().is_some_and(|code| code.starts_with("queue_")));
    stage.tell(Of::Keys, "concurrency.limit, concurrency.queue, concurrency.queue_wait; priority.");
    stage.heal()?;
    stage.tell_calm().await
}

async fn flapping(stage: &mut Stage<'_>) -> Result<(), ChaosError> {
    let mut scene = stage.begin("An endpoint comes and goes", NORMAL).await?;
    stage.tell(
        Of::Done,
        &format!("{} dies and lives again, every {} ms.", stage.name(B), FLAP_EVERY.as_millis()),
    );
    let address = stage.address(B);
    tokio::select! {
        watched = stage.watch(&mut scene, Duration::from_secs(6), |now| now.outcomes.len() >= 50) => {
            watched?;
        }
        broken = flap(stage) => broken?,
    }
    stage.heal()?;
    let played = stage.end(scene).await?;
    let left_out =
        played.changes.iter().filter(|change| change.subject == address && change.state == "ejected");
    let left_out: Vec<_> =
        left_out.map(|change| format!("{} ms", change.ejected_for_ms.unwrap_or(0))).collect();
    let retries = played.grown("mainstay_retries_total", &[PAYMENTS]);
    stage.tell(
        Of::Engine,
        &format!(
            "{} {} made again elsewhere (mainstay_retries_total). Each failure in a row doubles the load that an endpoint is taken \
             to have: attempts at {}.",
            count(retries, "attempt"),
            were(retries),
            stage.attempts_of_all(&played)
        ),
    );
    let times = count(left_out.len() as u64, "time");
    let sentence = match left_out.is_empty() {
        true => format!("So it was never dead often enough in a row to be left out ({times})."),
        false => format!("It was left out {times}: for {}.", left_out.join(", then ")),
    };
    stage.tell(Of::Engine, &sentence);
    stage.tell(Of::Keys, "balance: least_loaded; eject.time, eject.time_max.");
    stage.tell_calm().await
}

/// Goes on until it is dropped, or a port cannot be opened again.
async fn flap(stage: &Stage<'_>) -> Result<(), ChaosError> {
    loop {
        stage.kill(B)?;
        sleep(FLAP_EVERY).await;
        stage.service(B).faults().clear()?;
        sleep(FLAP_EVERY).await;
    }
}

impl Stage<'_> {
    fn address(&self, nth: usize) -> String {
        self.service(nth).addr.to_string()
    }

    fn name(&self, nth: usize) -> String {
        self.service(nth).name().to_owned()
    }

    fn attempts_of_all(&self, played: &Played) -> String {
        ALL.map(|nth| format!("{} {}", self.name(nth), self.attempts(played, nth))).join(", ")
    }

    /// How many attempts an endpoint got, whatever became of them.
    fn attempts(&self, played: &Played, nth: usize) -> u64 {
        let endpoint = self.address(nth);
        let labels = [PAYMENTS, ("endpoint", endpoint.as_str())];
        played.grown(&format!("{ATTEMPTS}_count"), &labels)
    }

    fn tell_broken_off(&self, played: &Played) {
        let replaced = played.grown("mainstay_connections_replaced_total", &[PAYMENTS]);
        let retries = played.grown("mainstay_retries_total", &[PAYMENTS, ("cause", "reset")]);
        self.tell(
            Of::Engine,
            &format!(
                "A read is made again, over a new connection or at another endpoint: mainstay_connections_replaced_total grew by \
                 {replaced}, mainstay_retries_total{{cause=\"reset\"}} by {retries}."
            ),
        );
        let proof = Proof::of(&played.payments(), self.ground.services);
        self.tell(
            Of::Engine,
            &format!(
                "A payment may have been made, so it is not sent again. Of {} that clients asked for {} accepted and {} left in \
                 doubt. The services have counted {}; in the books {} twice.",
                count(proof.asked, "payment"),
                count_were(proof.accepted),
                count_were(proof.open),
                count(played.effects, "payment"),
                if proof.twice == 0 { "none of them is".to_owned() } else { count_are(proof.twice) },
            ),
        );
    }

    fn tell_circuit(&self, played: &Played) {
        let steps = played.changes.iter().filter(|change| change.subject == BREAKER);
        let steps: Vec<_> = steps.map(|c| format!("{} after {}", c.state, show(c.after))).collect();
        self.tell(
            Of::Engine,
            &format!(
                "When its time is over the circuit lets three probes through, and closes if all are good: {} (`mainstay upstreams`; \
                 event circuit_closed, {} in this scene).",
                if steps.is_empty() { "it was closed before".to_owned() } else { steps.join(", ") },
                played.grown("mainstay_events_total", &[("event", "circuit_closed")])
            ),
        );
        let refused = played.outcomes.iter().find(|outcome| outcome.has_code("circuit_open"));
        let tried = played.first(BREAKER, "half_open").or_else(|| played.first(BREAKER, "closed"));
        if let Some((refused, tried)) = refused.zip(tried)
            && let Some(retry_after_s) = refused.answer.as_ref().and_then(|answer| answer.retry_after_s)
        {
            let between = (played.began + tried.after).saturating_duration_since(refused.ended);
            self.tell(
                Of::Engine,
                &format!(
                    "The first refusal of this scene said Retry-After: {retry_after_s}; {} after it the circuit was seen to try again.",
                    show(between)
                ),
            );
        }
    }

    fn tell_ejected(&self, played: &Played, nth: usize) {
        let name = self.name(nth);
        let sentence = match played.first(&self.address(nth), "ejected") {
            Some(change) => format!(
                "After {} {name} was left out, at first for {} ms: `mainstay upstreams` says ejected, the event is \
                 endpoint_ejected ({} in this scene).",
                show(change.after),
                change.ejected_for_ms.unwrap_or(0),
                played.grown("mainstay_events_total", &[("event", "endpoint_ejected")])
            ),
            None => format!("{name} was not left out in this run."),
        };
        self.tell(Of::Engine, &sentence);
    }

    async fn tell_calm(&self) -> Result<(), ChaosError> {
        let sentence = match self.calm().await? {
            Some(after) if after.as_millis() < 100 => {
                "The services are well again, and the engine takes all for healthy.".to_owned()
            }
            Some(after) => {
                format!(
                    "The services are well again; {} later the engine takes all for healthy.",
                    show(after)
                )
            }
            None => {
                "The services are well again, but the engine does not take all for healthy yet.".to_owned()
            }
        };
        self.tell(Of::Engine, &sentence);
        Ok(())
    }
}

fn count_were(number: u64) -> String {
    format!("{number} {}", were(number))
}

fn count_are(number: u64) -> String {
    format!("{number} {}", if number == 1 { "is" } else { "are" })
}

fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}
