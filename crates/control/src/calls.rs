//! Calls that change something leave an event, whoever made them and however they ended.
//!
//! Two places write it, and the flag in [`Call`] says whose turn it is: the work itself once it has begun, because it goes
//! on when the caller leaves; before that the front, which sees every refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Uri};
use mainstay_core::ProblemCode;
use mainstay_telemetry::{Event, EventLog};

use crate::problem::Refusal;

/// The routes that change something, as they stand in an event.
pub(crate) const CHANGING: [&str; 17] = [
    "POST /admin/v1/reload",
    "POST /admin/v1/consumers",
    "PATCH /admin/v1/consumers/{id}",
    "DELETE /admin/v1/consumers/{id}",
    "POST /admin/v1/consumers/{id}/keys",
    "PATCH /admin/v1/keys/{id}",
    "DELETE /admin/v1/keys/{id}",
    "POST /admin/v1/keys/{id}/rotate",
    "POST /admin/v1/clients",
    "PATCH /admin/v1/clients/{id}",
    "DELETE /admin/v1/clients/{id}",
    "POST /admin/v1/clients/{id}/rotate",
    "POST /admin/v1/users",
    "PATCH /admin/v1/users/{id}",
    "DELETE /admin/v1/users/{id}",
    "POST /admin/v1/tokens",
    "DELETE /admin/v1/tokens/{id}",
];

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
            route.split_once(' ').is_some_and(|(verb, path)| method == verb && leads_to(uri.path(), path))
        })?;
        let begun = Arc::new(AtomicBool::new(false));
        Some(Self { what, caller, request_id: request_id.into(), begun, events: events.clone() })
    }

    /// Does the work to its end, even if the caller leaves or the request's time is up, and says how it ended: half a
    /// change helps nobody.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.begun.store(true, Ordering::Relaxed);
        let work = tokio::spawn(work);
        // A task of its own, because the work may panic and the caller may leave, and the call is told either way.
        let task = tokio::spawn(async move {
            let result = work.await;
            self.ended(match &result {
                Ok(Ok(_)) => "ok",
                Ok(Err(refusal)) => refusal.code.code(),
                Err(_) => ProblemCode::Internal.code(),
            });
            result
        });
        match task.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Refusal::internal(
                "The call ended unexpectedly; read what is there before you repeat it.",
            )),
        }
    }

    fn ended(&self, result: &str) {
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

/// Whether a path is one of a template's, in which `{id}` stands for any one segment.
fn leads_to(path: &str, template: &str) -> bool {
    let (mut given, mut wanted) = (path.split('/'), template.split('/'));
    loop {
        match (given.next(), wanted.next()) {
            (None, None) => return true,
            (Some(given), Some(wanted)) if given == wanted => {}
            (Some(given), Some(wanted)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}
