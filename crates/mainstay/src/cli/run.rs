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
                complain(&format!("mainstay: {error}\n"));
                return NO;
            }
        };
        if engine.token_created {
            complain(&format!("mainstay: the admin token is in {}\n", token_file.display()));
        }
        until_told(engine, std::future::pending()).await
    })
}

/// Runs the demo until it is told to end.
pub(super) fn demo(traffic: bool) -> u8 {
    on_control_runtime(async move {
        match Demo::start(traffic).await {
            Ok((demo, engine)) => {
                say(&demo.introduction(&engine));
                let code = until_told(engine, std::future::pending()).await;
                say(&demo.stop().await);
                code
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
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            complain(&format!("mainstay: cannot start: {error}\n"));
            NO
        }
    }
}

/// Waits for signals. A first SIGTERM or SIGINT drains; a second one ends at once.
async fn until_told(engine: Engine, also: impl Future<Output = ()>) -> u8 {
    let signals = || -> std::io::Result<[Signal; 3]> {
        Ok([
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ])
    };
    let [mut hangup, mut terminate, mut interrupt] = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("mainstay: cannot listen for signals: {error}\n"));
            engine.stop().await;
            return NO;
        }
    };
    tokio::pin!(also);
    let reason = loop {
        tokio::select! {
            _ = hangup.recv() => {
                engine.handle.log.reopen();
                if let Err(problems) = engine.handle.reload_now().await {
                    complain(&mainstay_config::render_text(&problems));
                }
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            () = &mut also => break "done",
        }
    };
    tokio::select! {
        drained = engine.shut_down(reason) => if drained { 0 } else { NO },
        _ = terminate.recv() => 128 + 15,
        _ = interrupt.recv() => 128 + 2,
    }
}
