//! `run` and `demo`: an engine with signals around it.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::{io, process};

use mainstay_core::clock::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Common, NO, complain, say};
use crate::compose::{Engine, Start, StartError, load_for_start};
use crate::demo::{Demo, Options};
use crate::handover::systemd::{self, State};
use crate::handover::{HandoverError, Inherited};

/// Runs the engine until it is told to end.
pub(super) fn run(common: &Common) -> u8 {
    // Looked at now: once another release lies at this path, the system knows the path no longer.
    let program = Program::of_this_process();
    on_control_runtime(async {
        let Some(mut signals) = Signals::install() else { return NO };
        let inherited = match Inherited::from_start().await {
            Ok(inherited) => inherited,
            Err(error) => {
                complain(&format!("mainstay: {error}\n"));
                return NO;
            }
        };
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
        if inherited.is_succession() && loaded.start.fell_back.is_some() {
            complain("mainstay: this configuration does not take over from an engine that serves\n");
            return NO;
        }
        let token_file = loaded.start.checked.control.token_file.clone();
        let start = Start { inherited, ..loaded.start };
        let mut engine = match Engine::start(start).await {
            Ok(engine) => engine,
            Err(StartError::Bind(problem)) => {
                complain(&mainstay_config::render_text(&[*problem]));
                return NO;
            }
            Err(error) => {
                complain(&format!("mainstay: {}: {error}\n", common.config.display()));
                return NO;
            }
        };
        if engine.token_created {
            complain(&format!("mainstay: the admin token is in {}\n", token_file.display()));
        }
        systemd::tell(State::Ready);
        match signals.wait(&mut engine, program.as_ref()).await {
            End::Told(reason) => {
                systemd::tell(State::Stopping);
                signals.finish(engine.shut_down(reason)).await
            }
            End::HandedOver(pid) => {
                systemd::tell(State::Successor(pid));
                signals.finish(engine.leave()).await
            }
        }
    })
}

/// What a new process is started with: what this one was started with.
struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    fn of_this_process() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }

    fn command(&self) -> process::Command {
        let mut command = process::Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

/// Runs the demo until it is told to end, or until its script has been played.
pub(super) fn demo(options: Options) -> u8 {
    on_control_runtime(async move {
        let Some(mut signals) = Signals::install() else { return NO };
        let (mut demo, mut engine) = match Demo::start(options).await {
            Ok(started) => started,
            Err(error) => {
                complain(&format!("mainstay demo: {error}\n"));
                return NO;
            }
        };
        say(&demo.introduction(&engine));
        let until_end = Box::pin(through_script(&mut signals, &mut demo, &mut engine));
        let Some((reason, proven)) = until_end.await else { return NO };
        // First those who ask, then the engine, then those who answer: so nobody is left without an answer.
        let ending = async {
            say(&demo.stop_traffic().await);
            let drained = engine.shut_down(reason).await;
            demo.stop_services().await;
            say("stopped\n");
            drained && proven
        };
        signals.finish(ending).await
    })
}

/// Plays the script, if there is one, and goes on afterwards if there is a reason to. Why it is time to end, and whether
/// the script has shown what it must; `None`: another process serves, which a demo has none of.
async fn through_script(
    signals: &mut Signals,
    demo: &mut Demo,
    engine: &mut Engine,
) -> Option<(&'static str, bool)> {
    let no_program = io::Error::other("the demo is not handed over; it is started again");
    let (listen, control) = (engine.listen[0], engine.control);
    let played = tokio::select! {
        end = signals.wait(engine, Err(&no_program)) => return told(end),
        played = demo.play(listen, control, &say) => played,
    };
    let proven = played.unwrap_or_else(|error| {
        complain(&format!("mainstay demo: {error}\n"));
        Some(false)
    });
    if !demo.goes_on() {
        return Some(("the end of the script", proven.unwrap_or(true)));
    }
    if proven.is_some() {
        demo.start_traffic(engine);
        say("The demo goes on, with traffic and without failures. Stop with Ctrl-C.\n");
    }
    let (reason, _) = told(signals.wait(engine, Err(&no_program)).await)?;
    Some((reason, proven.unwrap_or(true)))
}

/// Of an end that was asked for; nothing has been shown to be wrong by then.
fn told(end: End) -> Option<(&'static str, bool)> {
    match end {
        End::Told(reason) => Some((reason, true)),
        End::HandedOver(_) => None,
    }
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
    replace: Signal,
}

/// Why an engine stops serving.
#[derive(Clone, Copy)]
enum End {
    /// It was told to.
    Told(&'static str),
    /// A process with this id serves in its place.
    HandedOver(u32),
}

impl Signals {
    fn install() -> Option<Self> {
        let install = || -> io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                replace: signal(SignalKind::user_defined2())?,
            })
        };
        install()
            .inspect_err(|error| complain(&format!("mainstay: cannot listen for signals: {error}\n")))
            .ok()
    }

    /// Reloads on SIGHUP and hands over on SIGUSR2, until it is time to end.
    async fn wait(&mut self, engine: &mut Engine, program: Result<&Program, &io::Error>) -> End {
        loop {
            let end = tokio::select! {
                _ = self.hangup.recv() => {
                    reload(engine).await;
                    None
                }
                _ = self.replace.recv() => self.hand_over(engine, program).await,
                _ = self.terminate.recv() => Some(End::Told("SIGTERM")),
                _ = self.interrupt.recv() => Some(End::Told("SIGINT")),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// `None`: it came to nothing, and has been reported.
    async fn hand_over(&mut self, engine: &mut Engine, program: Result<&Program, &io::Error>) -> Option<End> {
        let program = match program {
            Ok(program) => program,
            Err(error) => {
                engine.handle.handover_failed(&HandoverError::new(error.to_string()));
                return None;
            }
        };
        // Told to end meanwhile, the new process is ended with the attempt.
        tokio::select! {
            handed = engine.hand_over(program.command()) => handed.ok().map(End::HandedOver),
            _ = self.terminate.recv() => Some(End::Told("SIGTERM")),
            _ = self.interrupt.recv() => Some(End::Told("SIGINT")),
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
    systemd::tell(State::Reloading);
    engine.handle.log.reopen();
    if let Err(problems) = engine.handle.reload_now().await {
        complain(&mainstay_config::render_text(&problems));
    }
    systemd::tell(State::Ready);
}
