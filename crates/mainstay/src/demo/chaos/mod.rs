//! The script of failures: what goes wrong, what clients saw, what the engine did.
//!
//! Rules of this room:
//! - The failures are real: the services close their ports, become slow, reset connections ([`mainstay_payments::faults`]).
//! - Every figure was measured in this run: by the clients (`clients`), or by the engine, which is asked over its control
//!   listener and through its access log as an operator would (`engine`). If something did not happen, the narration says so.
//! - A scene ends when what it waits for has happened, and not before its least time. So the script means the same on a slow
//!   machine, and a test may shorten the least times.
//! - Between scenes nothing is sent and the services are well, so each scene's figures are its own.

mod clients;
mod engine;
mod narrate;
mod proof;
mod scenes;
mod stage;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use mainstay_payments::Running;
use mainstay_payments::faults::SwitchError;

use self::proof::Proof;
use self::stage::Stage;

/// The configuration of the engine that the script is played against, with words in place of addresses.
pub(super) const CONFIGURATION: &str = include_str!("chaos.yaml");

/// What the script is played on.
pub struct Ground<'g> {
    /// Three endpoints of one upstream, and the one of its standby.
    pub services: &'g [Running],
    /// Where the engine serves.
    pub engine: SocketAddr,
    /// Where it can be asked.
    pub control: SocketAddr,
    /// Where its token and its access log are.
    pub folder: &'g Path,
    /// By how much the least times of scenes are divided.
    pub speed: u32,
    /// Takes the narration.
    pub say: &'g dyn Fn(&str),
}

/// Why the script could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A service could not be made to fail, or to be well again.
    #[error("a service of the demo: {0}")]
    Switch(#[from] SwitchError),
    /// The engine could not be asked.
    #[error("the engine could not be asked: {0}")]
    Engine(String),
    /// Its log could not be read.
    #[error("the access log could not be read: {0}")]
    Log(#[from] io::Error),
}

/// Plays the whole script. `true`: no payment happened twice, and none that was accepted is missing.
///
/// # Errors
/// See [`ChaosError`].
pub async fn play(ground: Ground<'_>) -> Result<bool, ChaosError> {
    let mut stage = Stage::set(ground)?;
    scenes::all(&mut stage).await?;
    stage.table();
    let proof = Proof::of(&stage.payments, stage.ground.services);
    stage.proof(&proof);
    Ok(proof.holds())
}
