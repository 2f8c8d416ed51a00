//! The Mainstay API engine, as a library and as the binary around it.
//!
//! As a library: [`Engine`] is built from a configuration, a file or a text, and may have services of the program behind
//! it. The guide `docs/guides/embedding.md` begins at the beginning.
//!
//! ```
//! # async fn doc() -> Result<(), mainstay::Error> {
//! # let router: axum::Router = axum::Router::new();
//! let engine = mainstay::Engine::from_file("mainstay.yaml").local("payments", router).start().await?;
//! println!("listening on {:?}", engine.addresses());
//! engine.shut_down().await;
//! # Ok(())
//! # }
//! ```
//!
//! Inside, everything meets here: configuration is lowered to a plan ([`lower`]), the parts are put together and
//! started ([`compose`]), told who is known (`catalogue`), changed while they run ([`reload`]), replaced by a new process ([`handover`]), remembered on disk
//! ([`last_good`]). [`library`] and [`local`] are the face for other programs, [`cli`] is the command line. What this page
//! exports by name is what programs build on; the modules are for the engine's own tests. The library sets no allocator
//! and installs no signal handler; the binary does both.

mod authorize;
mod catalogue;
pub mod certificates;
pub mod cli;
pub mod compose;
pub mod demo;
pub mod explain;
pub mod handover;
mod introspection;
mod key_sets;
pub mod last_good;
pub mod library;
mod listen;
pub mod local;
pub mod lower;
mod memory;
mod oauth;
mod outbound;
mod policies;
pub mod reload;
pub mod report;
mod secret_key;

pub use compose::StartError;
pub use library::{Builder, Ended, Engine, Error};
pub use local::{Body, BodyError, BoxError, LocalService};
pub use mainstay_config::{Problem, Published};
pub use mainstay_core::port::Loaded;
pub use mainstay_telemetry::Output;

/// The programs that a guide shows, as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/embedding.md")]
struct EmbeddingGuide;
