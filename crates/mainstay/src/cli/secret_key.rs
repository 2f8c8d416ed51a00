//! `mainstay secret-key`: the one key that a running engine cannot exchange itself.

use clap::Subcommand;
use mainstay_config::Options;
use mainstay_core::clock::Clock;
use serde_json::json;

use super::ask::show;
use super::{Common, NO, complain};
use crate::secret_key::{Done, Step, exchange};

/// What to do about `stores.secret_key`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new key, and seal everything with it. The old key stays in the file, for backups.
    Rotate,
    /// Make a new key, which seals from the next start on. The first step where several nodes share a store.
    Add,
    /// Seal everything with the newest key, once every node has it.
    Reseal,
    /// Seal everything with the newest key, and take the older ones out of the file. Backups from before need them.
    Forget,
}

impl Command {
    const fn step(self) -> Step {
        match self {
            Self::Rotate => Step::Rotate,
            Self::Add => Step::Add,
            Self::Reseal => Step::Reseal,
            Self::Forget => Step::Forget,
        }
    }
}

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    let options = Options { now_s: Clock::System.now().seconds(), ..Options::default() };
    let outcome = mainstay_config::load(&common.config, &options);
    let Some(checked) = outcome.checked else {
        super::check::report(common, &outcome.problems, false);
        return NO;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            runtime.block_on(exchange(&checked, command.step())).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(done) => {
            let Done { added, resealed, forgotten } = done;
            let value = json!({ "added": added, "resealed": resealed, "forgotten": forgotten });
            show(common, &value, |_| said(done));
            0
        }
        Err(error) => {
            complain(&format!("mainstay: {error}\n"));
            NO
        }
    }
}

fn said(Done { added, resealed, forgotten }: Done) -> String {
    let mut text = String::new();
    if added {
        text.push_str("a new key stands in front of the others in the file: keep a copy of it\n");
    }
    text.push_str(&format!("{resealed} sealed anew, {forgotten} old keys taken out\n"));
    text
}
