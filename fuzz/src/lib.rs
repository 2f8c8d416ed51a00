//! An engine in memory for the targets that go through all of it: one worker, one upstream, time that passes only when
//! nothing else is left to do.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Dial, Peer, STREAM_BYTES};
use mainstay_testkit::rig::Rig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;

/// What the upstream does: it is given all bytes of a connection so far, and says what it sends now, if anything, and
/// whether it closes then.
pub type Script = dyn Fn(&[u8]) -> Option<(Vec<u8>, bool)>;

thread_local! {
    static SCRIPT: RefCell<Box<Script>> = RefCell::new(Box::new(|_| None));
    /// Ends the connections to the upstream, so that none is left for the next input.
    static END: Rc<Notify> = Rc::default();
    /// All bytes of each connection to the upstream.
    static RECORDED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

const CONFIG: &str = "server: { workers: 1 }\nupstreams: { up: { endpoints: [\"http://127.0.0.1:1\"], host: preserve, retries: off, breaker: off, eject: off } }\n\
    telemetry: { log: { output: none } }\napis: { pay: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: { \
    \"* /{*rest}\": { timeouts: { total: 3s, settle: 1s } } } } } } }\n";

/// An engine that serves one input after another.
pub struct Engine {
    // Dropped before the runtime on which its tasks are.
    rig: Rig,
    runtime: LocalRuntime,
}

impl Engine {
    /// Starts it.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let dial: Dial = Arc::new(|| {
            let (near, far) = tokio::io::duplex(STREAM_BYTES);
            tokio::task::spawn_local(serve(far));
            Ok(near.into())
        });
        let rig = runtime.block_on(async { Rig::start(CONFIG, Clock::System, Output::None, &dial) });
        Self { rig, runtime }
    }

    /// Serves a client that sends these bytes and reads until `is_enough` says so of what came, or until the end. Gives
    /// what came, and what the upstream got over each connection.
    pub fn serve(
        &self,
        bytes: &[u8],
        script: Box<Script>,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> (Vec<u8>, Vec<Vec<u8>>) {
        SCRIPT.set(script);
        RECORDED.take();
        let came = self.runtime.block_on(async {
            let Peer(client) = self.rig.connect();
            let (mut reading, mut writing) = tokio::io::split(client);
            let mut came = Vec::new();
            let send = async {
                // Who has refused the beginning may not take the end.
                let _ = writing.write_all(bytes).await;
            };
            let read =
                async { while !is_enough(&came) && matches!(reading.read_buf(&mut came).await, Ok(1..)) {} };
            tokio::join!(send, read);
            came
        });
        // The client is gone: what it leaves behind ends, in time that does not pass for us.
        self.runtime.block_on(async {
            for _ in 0..1_000 {
                if self.rig.shared.requests.load(Ordering::Relaxed) == 0 {
                    END.with(|end| end.notify_waiters());
                    tokio::task::yield_now().await;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("a request never ends");
        });
        (came, RECORDED.take())
    }
}

async fn serve(mut stream: DuplexStream) {
    let number = RECORDED.with_borrow_mut(|all| {
        all.push(Vec::new());
        all.len() - 1
    });
    let (mut bytes, end) = (Vec::new(), END.with(Rc::clone));
    loop {
        let read = tokio::select! {
            read = stream.read_buf(&mut bytes) => read,
            () = end.notified() => return,
        };
        if !matches!(read, Ok(1..)) {
            return;
        }
        RECORDED.with_borrow_mut(|all| {
            if let Some(recorded) = all.get_mut(number) {
                recorded.clone_from(&bytes);
            }
        });
        let Some((answer, closes)) = SCRIPT.with_borrow(|script| script(&bytes)) else { continue };
        if stream.write_all(&answer).await.is_err() || closes {
            return;
        }
    }
}
