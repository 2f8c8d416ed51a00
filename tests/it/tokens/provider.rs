//! An identity provider whose key set is as good or as bad as a test wants it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::setup::{read_head, serving};

/// What is answered.
#[derive(Clone)]
pub(super) enum Mood {
    /// These bytes.
    Answer(Arc<Vec<u8>>),
    /// Nothing: the connection is closed.
    Down,
    /// Nothing, until the mood changes.
    Silent,
}

impl Mood {
    pub(super) fn text(status: &str, fields: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Self::Answer(Arc::new([head.as_bytes(), body.as_bytes()].concat()))
    }

    pub(super) fn set(body: &str) -> Self {
        Self::text("200 OK", "Content-Type: application/jwk-set+json\r\n", body)
    }
}

struct State {
    mood: Mutex<Mood>,
    changed: Condvar,
    fetches: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

/// The provider.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) addr: SocketAddr,
    state: Arc<State>,
}

impl Provider {
    pub(super) fn start(mood: Mood) -> Self {
        let state = Arc::new(State {
            mood: Mutex::new(mood),
            changed: Condvar::new(),
            fetches: AtomicUsize::new(0),
            heads: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let addr = serving(move |_, mut stream| {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            let Some(head) = read_head(&mut stream) else { return };
            shared.heads.lock().unwrap().push(head);
            let mood = shared.mood.lock().unwrap();
            let mood = shared.changed.wait_while(mood, |mood| matches!(mood, Mood::Silent)).unwrap().clone();
            if let Mood::Answer(bytes) = mood {
                // Whoever has seen enough closes.
                let _ = stream.write_all(&bytes);
            }
        });
        Self { addr, state }
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
        self.state.changed.notify_all();
    }

    /// Connections so far.
    pub(super) fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Where the set is, without TLS.
    pub(super) fn url(&self) -> String {
        format!("http://{}/jwks.json?v=1", self.addr)
    }
}
