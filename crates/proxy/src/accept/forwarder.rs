//! Notices a proxy that stands in front of the engine and is not trusted.
//!
//! Without `server.trusted_proxies` all its clients look like one: limits per client then hit everybody at once,
//! and the log shows the wrong address. The sign is that most requests of a window come from one address and
//! carry `X-Forwarded-For`. The majority vote (Boyer and Moore) needs one candidate and one counter.

use std::cell::Cell;
use std::net::IpAddr;

/// Requests that are looked at before it is decided.
const WINDOW: u32 = 1000;
/// After a finding, so many windows are skipped before it is said again.
const QUIET_WINDOWS: u32 = 1000;

/// The vote of one worker.
#[derive(Debug, Default)]
pub struct UntrustedForwarder {
    seen: Cell<u32>,
    candidate: Cell<Option<IpAddr>>,
    lead: Cell<u32>,
    votes: Cell<u32>,
    quiet: Cell<u32>,
}

impl UntrustedForwarder {
    /// Looks at a request of a peer that is not trusted. `Some`: this address forwards for most of the traffic;
    /// with its share in percent.
    pub fn look(&self, peer: IpAddr, sends_forwarded_for: bool) -> Option<(IpAddr, u32)> {
        self.seen.set(self.seen.get() + 1);
        if sends_forwarded_for {
            self.vote(peer);
        }
        if self.seen.get() < WINDOW {
            return None;
        }
        let found = self.candidate.get().filter(|_| self.votes.get() > WINDOW / 2);
        let share = self.votes.get() * 100 / WINDOW;
        let quiet = self.quiet.get();
        self.seen.set(0);
        self.candidate.set(None);
        self.lead.set(0);
        self.votes.set(0);
        self.quiet.set(quiet.saturating_sub(1));
        let found = found.filter(|_| quiet == 0)?;
        self.quiet.set(QUIET_WINDOWS);
        Some((found, share))
    }

    fn vote(&self, peer: IpAddr) {
        if self.candidate.get() == Some(peer) {
            self.lead.set(self.lead.get() + 1);
            self.votes.set(self.votes.get() + 1);
        } else if self.lead.get() == 0 {
            self.candidate.set(Some(peer));
            self.lead.set(1);
            self.votes.set(1);
        } else {
            self.lead.set(self.lead.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(forwarder: &UntrustedForwarder, peers: impl Fn(u32) -> (u8, bool)) -> Option<(IpAddr, u32)> {
        (0..WINDOW)
            .filter_map(|n| {
                let (last, sends) = peers(n);
                forwarder.look(IpAddr::from([10, 0, 0, last]), sends)
            })
            .next()
    }

    #[test]
    fn only_a_majority_that_forwards_is_named() {
        let forwarder = UntrustedForwarder::default();
        assert_eq!(window(&forwarder, |_| (1, false)), None);
        assert_eq!(window(&forwarder, |n| ((n % 200) as u8, true)), None);
        let found = window(&forwarder, |n| if n % 10 == 0 { (2, false) } else { (1, true) });
        assert_eq!(found, Some((IpAddr::from([10, 0, 0, 1]), 90)));
        assert_eq!(window(&forwarder, |_| (1, true)), None, "said once, then quiet for a while");
    }
}
