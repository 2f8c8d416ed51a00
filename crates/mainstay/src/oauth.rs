//! The authorisation server within the process: mounted before there is a store, filled once there is one.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use mainstay_config::checked;
use mainstay_control::oauth::{Parts, Server, Settings};
use mainstay_core::catalogue::StoreError;
use mainstay_core::clock::Clock;
use mainstay_telemetry::{EventLog, Registry};
use tower_service::Service;

use crate::catalogue::{Keeper, is_down};
use crate::local::{Body, Given, given};
use crate::lower::system::OAUTH;

/// The service, empty until [`Mount::fill`].
#[derive(Clone, Default)]
pub(crate) struct Mount(Arc<OnceLock<axum::Router>>);

impl Mount {
    /// As a service that the data plane can reach.
    pub(crate) fn given(&self) -> Given {
        given(OAUTH.to_owned(), self.clone())
    }

    /// Starts the server that the configuration wants, if it wants one.
    ///
    /// # Errors
    /// Its keys cannot be read, made or opened.
    pub(crate) async fn fill(
        &self,
        wanted: Option<&checked::Oauth>,
        keeper: &Keeper,
        (clock, events, registry): (&Clock, &EventLog, &Registry),
    ) -> Result<(), StoreError> {
        let (Some(wanted), Some((store, sealer))) = (wanted, keeper.sealed()) else { return Ok(()) };
        let settings = Settings {
            issuer: wanted.issuer.clone(),
            path: wanted.path.clone(),
            access_token: wanted.access_token,
            refresh_token: wanted.refresh_token,
        };
        let (clock, events) = (clock.clone(), events.clone());
        let server = Server::new(Parts { settings, store, sealer, clock, events });
        match server.refresh_keys().await {
            // It goes on without keys, and tries again.
            Err(error) if is_down(&error) => {}
            refreshed => refreshed?,
        }
        server.observe(registry);
        // Nobody else fills it.
        let _ = self.0.set(server.router());
        tokio::spawn(server.keep());
        Ok(())
    }
}

impl Service<Request<Body>> for Mount {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let router = self.0.get().cloned();
        Box::pin(async move {
            match router {
                Some(mut router) => router.call(request).await,
                None => {
                    let mut response = Response::new(axum::body::Body::empty());
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    Ok(response)
                }
            }
        })
    }
}
