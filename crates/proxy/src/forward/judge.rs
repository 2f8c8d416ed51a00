//! What an attempt teaches those who choose where the next one goes.

use mainstay_core::clock::MonoMs;
use tokio::time::Instant;

use super::balance;
use super::breaker::Watch;
use crate::context::RequestCx;

/// Tells the endpoint, the pool, the breaker and the hedging how an attempt went. Once at the most: who drops it
/// untold has learnt nothing.
pub struct Judge {
    /// Index of the upstream.
    pub upstream: usize,
    /// Index of the endpoint in it.
    pub index: usize,
    /// The breaker's pass.
    pub watch: Option<Watch>,
}

impl Judge {
    /// How it went, and how long it took to the head of the answer or to the failure.
    pub fn told(&mut self, cx: &RequestCx, failed: bool, took_us: u64, now: Instant) {
        let Some(mut watch) = self.watch.take() else { return };
        let now = cx.worker.mono_at(now);
        watch.done(failed, took_us, now);
        if failed {
            balance::failed(cx, self.upstream, self.index, now);
        } else {
            self.succeeded(cx, took_us, now);
        }
    }

    /// Nobody waits for it any more. It would have taken at least as long as it has, which counts where that is more than
    /// was thought.
    pub fn let_go(&self, cx: &RequestCx, began: Instant) {
        if self.watch.is_none() {
            return;
        }
        let now = Instant::now();
        let took_us = now.saturating_duration_since(began).as_micros() as u64;
        let endpoint = &cx.snapshot.plan.upstreams[self.upstream].shared.endpoints[self.index];
        if endpoint.state.ewma_us().is_none_or(|known| took_us > known) {
            endpoint.state.observe(took_us, cx.worker.mono_at(now));
        }
    }

    fn succeeded(&self, cx: &RequestCx, took_us: u64, now: MonoMs) {
        let plan = &cx.snapshot.plan.upstreams[self.upstream];
        let endpoint = &plan.shared.endpoints[self.index];
        endpoint.state.answered(now);
        endpoint.state.observe(took_us, now);
        endpoint.recent.record(now, took_us);
        if let Some(hedge) = &plan.policies.hedge {
            hedge.recent.record(now, took_us);
        }
    }
}
