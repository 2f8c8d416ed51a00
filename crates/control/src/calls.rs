//! Calls that change something leave an event, whoever made them and however they ended.
//!
//! Two places write it, and the flag in [`Call`] says whose turn it is: the work itself once it has begun, because it goes
//! on when the caller leaves; before that the front, which sees every refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Uri};
use mainstay_telemetry::{Event, EventLog};

/// The routes that change something, as they stand in an event.
pub(crate) const CHANGING: [&str; 1] = ["POST /admin/v1/reload"];

/// One call of one of them; travels in the request's extensions to its handler.
#[derive(Clone)]
pub(crate) struct Call {
    what: &'static str,
    caller: IpAddr,
    request_id: Arc<str>,
    begun: Arc<AtomicBool>,
    events: EventLog,
}

impl Call {
    /// `None` for what only reads, and for what is no route.
    pub(crate) fn of(
        method: &Method,
        uri: &Uri,
        caller: IpAddr,
        request_id: &str,
        events: &EventLog,
    ) -> Option<Self> {
        let what = CHANGING.into_iter().find(|route| {
            route.split_once(' ').is_some_and(|(verb, path)| method == verb && uri.path() == path)
        })?;
        let begun = Arc::new(AtomicBool::new(false));
        Some(Self { what, caller, request_id: request_id.into(), begun, events: events.clone() })
    }

    /// From now on the work says how it ended.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, result: &str) {
        self.events.emit(&Event::AdminCall {
            call: self.what,
            caller: self.caller,
            request_id: &self.request_id,
            result,
        });
    }

    /// It was refused with this code; the work has said so already if it had begun.
    pub(crate) fn refused(&self, code: &str) {
        if !self.begun.load(Ordering::Relaxed) {
            self.ended(code);
        }
    }
}
