//! The service's side of a connection: hyper, and around each call whatever catches its panics.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::{Builder, HttpServerConnExec};
use mainstay_proxy::caught;
use mainstay_proxy::stream::LocalEnd;
use mainstay_telemetry::Event;

use super::body::{Body, Guarded};
use super::{BoxError, Events, LocalService};

/// More than `server.limits.headers` can be, with what the engine adds: what it has accepted is not refused here.
const HEADERS_MAX: usize = 1_100;
/// The same for `server.limits.header_bytes`.
const HEAD_BYTES_MAX: usize = 1_200 * 1_024;

/// Serves one connection, until either side has had enough.
pub(super) async fn serve<S, E>(end: LocalEnd, served: Served<S>, executor: E)
where
    S: LocalService,
    E: HttpServerConnExec<Answer<S>, Guarded<S::ResponseBody>>,
{
    let LocalEnd { bytes, left } = end;
    let mut builder = Builder::new(executor);
    // The engine is the one who ends connections. A time for heads would end one that is idle.
    builder.http1().max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX).header_read_timeout(None);
    builder.http2().max_header_list_size(HEAD_BYTES_MAX as u32);
    let connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(bytes), served));
    tokio::select! {
        biased;
        // Dropping the connection drops the future of the service with it.
        _ = left => {}
        // Why it ended has been told where it happened.
        _ = connection => {}
    }
}

/// A service as hyper calls it.
#[derive(Clone)]
pub(super) struct Served<S> {
    service: S,
    reporter: Reporter,
}

impl<S> Served<S> {
    pub(super) fn new(service: S, reporter: Reporter) -> Self {
        Self { service, reporter }
    }
}

impl<S: LocalService> hyper::service::Service<Request<Incoming>> for Served<S> {
    type Response = Response<Guarded<S::ResponseBody>>;
    type Error = BoxError;
    type Future = Answer<S>;

    fn call(&self, request: Request<Incoming>) -> Answer<S> {
        let request = request.map(Body::new);
        let asked = Asked {
            reporter: self.reporter.clone(),
            request_id: request.headers().get("x-request-id").cloned(),
        };
        let ended = (request.version() == Version::HTTP_11).then(|| request.body().ended());
        let step = match caught::call(|| self.service.clone()) {
            Ok(service) => Step::Waits(service, Some(request)),
            Err(cause) => Step::Failed(format!("a panic: {cause}")),
        };
        Answer { step, asked, ended }
    }
}

/// One call of a service.
pub(super) struct Answer<S: LocalService> {
    step: Step<S>,
    asked: Asked,
    /// Over HTTP/1.1: whether the request's body has been read.
    ended: Option<Arc<AtomicBool>>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "the large variant lasts until the first poll, and is not worth an allocation"
)]
enum Step<S: LocalService> {
    /// Until the service is ready for it.
    Waits(S, Option<Request<Body>>),
    Runs(Pin<Box<S::Future>>),
    Failed(String),
    Over,
}

// Nothing in it is pinned in place: what has to be is in a box.
impl<S: LocalService> Unpin for Answer<S> {}

impl<S: LocalService> Step<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<S::ResponseBody>, String>> {
        loop {
            match self {
                Self::Waits(service, request) => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(error.into().to_string()));
                    }
                    let Some(request) = request.take() else { return Poll::Pending };
                    let running = Box::pin(service.call(request));
                    *self = Self::Runs(running);
                }
                Self::Runs(running) => {
                    let answered = ready!(running.as_mut().poll(cx));
                    return Poll::Ready(answered.map_err(|error| error.into().to_string()));
                }
                Self::Failed(cause) => return Poll::Ready(Err(std::mem::take(cause))),
                Self::Over => return Poll::Pending,
            }
        }
    }
}

impl<S: LocalService> Future for Answer<S> {
    type Output = Result<Response<Guarded<S::ResponseBody>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let answered = ready!(caught::poll(|| this.step.poll(cx)));
        // What has panicked is not polled again, and what has answered holds nothing any more.
        this.step = Step::Over;
        Poll::Ready(match answered {
            Ok(Ok(response)) => Ok(this.answered(response)),
            Ok(Err(cause)) => Err(this.asked.failed(&cause)),
            Err(panic) => Err(this.asked.failed(&format!("a panic: {panic}"))),
        })
    }
}

impl<S: LocalService> Answer<S> {
    fn answered(&self, response: Response<S::ResponseBody>) -> Response<Guarded<S::ResponseBody>> {
        let asked = self.asked.clone();
        let mut response = response.map(|body| Guarded::new(body, asked));
        let unread = self.ended.as_ref().is_some_and(|ended| !ended.load(Ordering::Relaxed));
        if unread && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // hyper ends such a connection without saying so before. Said, the engine sends nothing more over it;
            // unsaid, the next request would run into the end, and would look like one that the service failed at.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Tells failures of one service.
#[derive(Clone)]
pub(super) struct Reporter {
    service: Arc<str>,
    events: Events,
}

impl Reporter {
    pub(super) fn new(service: Arc<str>, events: Events) -> Self {
        Self { service, events }
    }
}

/// A request, as far as a failure has to name it.
#[derive(Clone)]
pub(super) struct Asked {
    reporter: Reporter,
    request_id: Option<HeaderValue>,
}

impl Asked {
    /// Tells of a failure, and gives back what hyper ends the exchange with.
    pub(super) fn failed(&self, cause: &str) -> BoxError {
        if let Some(events) = self.reporter.events.get() {
            let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
            let service = &*self.reporter.service;
            events.emit(&Event::LocalServiceFailed { service, request_id, cause });
        }
        cause.into()
    }
}
