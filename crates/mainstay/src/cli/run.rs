//! `run` and `demo`: an engine with signals around it.

use std::future::Future;

use mainstay_core::clock::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Common, NO, complain, say};
use crate::compose::{Engine, load_for_start};
use crate::demo::Demo;

/// Runs the engine until it is told to end.
pub(super) fn run(common: &Common) -> u8 {
    on_control_runtime(async {
        let Some(mut signals) = Signals::install() else { return NO };
        let loaded = match load_for_start(common.config.clone(), Clock::System) {
            Ok(loaded) => loaded,
            Err(problems) => {
                complain(&mainstay_config::render_text(&problems));
                return NO;
            }
        };
        if !loaded.problems.is_empty() {
            complain(&mainstay_config::render_text(&loaded.problems));
        }
        let token_file = loaded.start.checked.control.token_file.clone();
        let engine = match Engine::start(loaded.start).await {
            Ok(engine) => engine,
            Err(error) => {
                complain(&format!("mainstay: {}: {error}\n", common.config.display()));
                return NO;
            }
        };
        if engine.token_created {
            complain(&format!("mainstay: the admin token is in {}\n", token_file.display()));
        }
        let reason = signals.wait(&engine).await;
        signals.finish(engine.shut_down(reason)).await
    })
}

/// Runs the demo until it is told to end.
pub(super) fn demo(traffic: bool) -> u8 {
    on_control_runtime(async move {
        let Some(mut signals) = Signals::install() else { return NO };
        match Demo::start(traffic).await {
            Ok((mut demo, engine)) => {
                say(&demo.introduction(&engine));
                let reason = signals.wait(&engine).await;
                // First those who ask, then the engine, then those who answer: so nobody is left without an answer.
                let ending = async {
                    say(&demo.stop_traffic().await);
                    let drained = engine.shut_down(reason).await;
                    demo.stop_services().await;
                    say("stopped\n");
                    drained
                };
                signals.finish(ending).await
            }
            Err(error) => {
                complain(&format!("mainstay demo: {error}\n"));
                NO
            }
        }
    })
}

/// The control side's own small runtime.
fn on_control_runtime(work: impl Future<Output = u8>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(4).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // After a second signal a flush may still wait for an output that takes nothing.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            complain(&format!("mainstay: cannot start: {error}\n"));
            NO
        }
    }
}

/// The signals that an engine listens to, from before it starts: one that comes early waits, instead of killing.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Option<Self> {
        let install = || -> std::io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        install()
            .inspect_err(|error| complain(&format!("mainstay: cannot listen for signals: {error}\n")))
            .ok()
    }

    /// Reloads on SIGHUP, until SIGTERM or SIGINT says that it is time to end.
    async fn wait(&mut self, engine: &Engine) -> &'static str {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reload(engine).await,
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
            }
        }
    }

    /// Lets the end take its time; a second signal ends at once.
    async fn finish(&mut self, ending: impl Future<Output = bool>) -> u8 {
        tokio::select! {
            drained = ending => if drained { 0 } else { NO },
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }
}

async fn reload(engine: &Engine) {
    engine.handle.log.reopen();
    if let Err(problems) = engine.handle.reload_now().await {
        complain(&mainstay_config::render_text(&problems));
    }
}
