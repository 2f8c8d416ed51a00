//! Clients that notice everything: one answer that does not come, or comes cut off, and the test has failed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::run::{connect, until};

/// Clients that keep asking, some on one connection for as long as it lasts, some on a new one each time.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let client = |keeps: bool| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut kept: Option<TcpStream> = None;
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = kept.take().unwrap_or_else(|| connect(address));
                    kept = one(&mut stream, keeps).then_some(stream);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = [true, true, false, false].map(client).into();
        Self { stop, answered, threads }
    }

    /// Waits until so many more have been answered.
    pub(crate) fn some_more(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        until(|| self.answered.load(Ordering::Relaxed) > before + 50);
    }

    /// Each of them was answered, every time.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client without an answer");
        }
    }
}

/// One request; `true`: the connection may be used again.
fn one(stream: &mut TcpStream, keep: bool) -> bool {
    let close = if keep { "" } else { "Connection: close\r\n" };
    write!(stream, "GET /v1/payments/pay_none HTTP/1.1\r\nHost: a\r\n{close}\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "cut off after {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    !head.contains("\r\nconnection: close\r\n")
}
