//! A panic ends what it happened in, and nothing else.
//!
//! It is a defect, and each place that catches one reports it. What the code that panicked had in its hands is dropped by
//! unwinding, as when it is cancelled, and it is never polled again; so nobody sees what it left half done, and each
//! count that it held is given back by its guard.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use futures_util::FutureExt as _;

/// Polls once; `Err` is the message of a panic. Nothing may be polled again after that.
pub fn poll<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, String>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(message(&*payload))),
    }
}

/// Runs a task to its end, whichever that is.
pub fn task(
    task: impl Future<Output = ()> + 'static,
    panicked: impl FnOnce(&str) + 'static,
) -> impl Future<Output = ()> + 'static {
    AssertUnwindSafe(task).catch_unwind().map(move |ended| {
        if let Err(payload) = ended {
            panicked(&message(&*payload));
        }
    })
}

/// Calls; `Err` is the message of a panic.
///
/// # Errors
/// It panicked.
pub fn call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| message(&*payload))
}

/// Runs to the end, whichever that is.
pub fn run(run: impl FnOnce(), panicked: impl FnOnce(&str)) {
    if let Err(cause) = call(run) {
        panicked(&cause);
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::ready;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Waker};

    use super::*;

    async fn fails(with: &'static str) {
        ready(()).await;
        assert!(with.is_empty(), "{with}");
    }

    #[test]
    fn a_poll_that_panics_says_why() {
        assert_eq!(poll(|| Poll::Ready(1)), Poll::Ready(Ok(1)));
        assert_eq!(poll(|| Poll::<u8>::Pending), Poll::Pending);
        assert_eq!(poll(|| -> Poll<u8> { panic!("plain") }), Poll::Ready(Err("plain".to_owned())));
        let number = 7;
        assert_eq!(poll(|| -> Poll<u8> { panic!("made {number}") }), Poll::Ready(Err("made 7".to_owned())));
        let odd = poll(|| -> Poll<u8> { std::panic::panic_any(7_u8) });
        assert_eq!(odd, Poll::Ready(Err("a panic without a message".to_owned())));
    }

    #[test]
    fn a_task_that_panics_is_over_and_reported_once() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let run = |with| {
            let told = Rc::clone(&told);
            let mut task = pin!(task(fails(with), move |cause| told.borrow_mut().push(cause.to_owned())));
            task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        assert_eq!((run(""), run("gone")), (Poll::Ready(()), Poll::Ready(())));
        assert_eq!(*told.borrow(), ["gone"]);
    }

    #[test]
    fn what_panics_is_reported() {
        let told = Cell::new(0);
        run(|| {}, |_| told.set(1));
        assert_eq!(told.get(), 0);
        run(|| panic!("gone"), |cause| told.set(cause.len()));
        assert_eq!(told.get(), 4);
    }
}
