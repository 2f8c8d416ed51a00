use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{LogQueue, LogWriter, Output};
use crate::event::{EventClock, EventLog};
use crate::metrics::Registry;

/// Longer than anything here takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(60);

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mainstay-log-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn push(queue: &LogQueue, line: &str) {
    queue.push_with(|out| out.extend_from_slice(line.as_bytes()));
}

fn pipe() -> (BufReader<File>, Output) {
    let (reader, writer) = std::io::pipe().unwrap();
    let reader = File::from(OwnedFd::from(reader));
    (BufReader::new(reader), Output::Open(Arc::new(File::from(OwnedFd::from(writer)))))
}

/// A pipe that is full of empty lines, so that the very first write blocks.
fn full_pipe() -> (BufReader<File>, Output) {
    const O_NONBLOCK: i32 = 0o4000;
    let (reader, writer) = std::io::pipe().unwrap();
    // Opened anew, so that only this descriptor is non-blocking.
    let again = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filling = fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(again).unwrap();
    for size in [4096, 1] {
        while filling.write(&[b'\n'; 4096][..size]).is_ok() {}
    }
    let writer = Output::Open(Arc::new(File::from(OwnedFd::from(writer))));
    (BufReader::new(File::from(OwnedFd::from(reader))), writer)
}

/// An event log into a file, and the registry that counts.
fn events(folder: &Folder) -> (EventLog, Arc<Registry>, PathBuf) {
    let (registry, path) = (Registry::new(), folder.file("events"));
    let log = EventLog::start(Output::File(path.clone()), &registry, EventClock::system()).unwrap();
    (log, registry, path)
}

fn names(events: &EventLog, path: &PathBuf) -> Vec<String> {
    assert!(events.flush(LONG));
    let name = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().into()
    };
    read(path).lines().map(name).collect()
}

#[test]
fn an_output_that_cannot_be_opened_is_an_error_and_changes_nothing() {
    let folder = Folder::new();
    let missing = || Output::File(folder.file("no/such/folder/log"));
    assert!(LogWriter::start(missing(), 1000).is_err());
    let path = folder.file("log");
    let writer = LogWriter::start(Output::File(path.clone()), 1000).unwrap();
    let queue = writer.worker();
    assert!(writer.retarget(missing()).is_err());
    push(&queue, "still here\n");
    assert_eq!(writer.flush_and_stop(LONG), 0);
    assert_eq!(read(&path), "still here\n");
}

/// Counts the numbered lines before `the end`; they must be whole and in order.
fn numbers_up_to_the_end(reader: &mut BufReader<File>) -> u64 {
    let (mut line, mut lines, mut last) = (String::new(), 0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.as_str() {
            "the end\n" => return lines,
            "\n" => continue,
            _ => {}
        }
        let number: u64 = line.trim_end().parse().expect("whole lines");
        assert!(last < Some(number), "in order");
        (last, lines) = (Some(number), lines + 1);
    }
}

#[test]
fn a_blocked_pipe_drops_and_counts_and_goes_on_after_draining() {
    let folder = Folder::new();
    let (events, registry, path) = events(&folder);
    let (mut reader, output) = full_pipe();
    let writer = LogWriter::start(output, 4096).unwrap();
    writer.report_to(&events);
    writer.observe(&registry);
    let queue = writer.worker();
    let mut pushed = 0_u64;
    while writer.dropped() < 100 {
        push(&queue, &format!("{pushed:099}\n"));
        pushed += 1;
        assert!(pushed <= 100 + 2 * 40, "one queue and one batch of 4 KiB are all that waits");
    }
    assert!(!writer.flush(Duration::from_millis(1)), "the thread hangs in its write");
    assert_eq!(names(&events, &path), ["log_dropping"], "it is said while the output blocks");

    let read_lines = std::thread::scope(|scope| {
        let reading = scope.spawn(|| numbers_up_to_the_end(&mut reader));
        assert!(writer.flush(LONG), "someone reads, so what was queued goes");
        push(&queue, "the end\n");
        reading.join().unwrap()
    });
    assert!(writer.flush(LONG) && writer.flush(LONG));
    assert_eq!(writer.dropped() + read_lines, pushed, "every line was read or counted");
    assert_eq!(names(&events, &path), ["log_dropping", "log_dropped"]);
    let text = registry.render();
    assert!(text.contains(&format!("mainstay_log_dropped_total {}\n", writer.dropped())), "{text}");
}

#[test]
fn a_stop_does_not_wait_for_an_output_that_takes_nothing() {
    let (_reader, output) = full_pipe();
    let writer = LogWriter::start(output, 4096).unwrap();
    let queue = writer.worker();
    let mut pushed = 0;
    while writer.dropped() == 0 {
        push(&queue, &format!("{:99}\n", "x"));
        pushed += 1;
    }
    assert_eq!(writer.flush_and_stop(Duration::from_millis(1)), pushed);
    push(&queue, "after the end\n");
    assert_eq!(writer.dropped(), 2, "counted, not queued");
}

#[test]
fn failing_writes_are_counted_and_reported_once_per_change() {
    let folder = Folder::new();
    let (events, _registry, path) = events(&folder);
    let writer = LogWriter::start(Output::File("/dev/full".into()), 4096).unwrap();
    writer.report_to(&events);
    let queue = writer.worker();
    for lines in 1..=3 {
        push(&queue, "lost\n");
        assert!(writer.flush(LONG));
        assert_eq!((writer.dropped(), writer.write_errors()), (lines, lines));
    }
    assert_eq!(names(&events, &path), ["log_output_failed"]);
    let log = folder.file("log");
    writer.retarget(Output::File(log.clone())).unwrap();
    push(&queue, "kept\n");
    assert_eq!(writer.flush_and_stop(LONG), 3);
    assert_eq!(read(&log), "kept\n");
    assert_eq!(names(&events, &path), ["log_output_failed", "log_output_recovered"]);
    assert!(read(&path).contains("\"lines\":3"), "{}", read(&path));
}

#[test]
fn a_reader_that_has_gone_is_an_error_like_any_other() {
    let (reader, output) = pipe();
    drop(reader);
    let writer = LogWriter::start(output, 4096).unwrap();
    let queue = writer.worker();
    push(&queue, "nobody reads\n");
    assert_eq!(writer.flush_and_stop(LONG), 1);
    assert_eq!(writer.write_errors(), 1);
}

#[test]
fn reopen_follows_a_file_that_was_moved_away() {
    let folder = Folder::new();
    let (events, _registry, events_path) = events(&folder);
    let (path, moved) = (folder.file("log"), folder.file("log.1"));
    let writer = LogWriter::start(Output::File(path.clone()), 4096).unwrap();
    writer.report_to(&events);
    let queue = writer.worker();
    push(&queue, "one\n");
    assert!(writer.flush(LONG));
    fs::rename(&path, &moved).unwrap();
    push(&queue, "two\n");
    assert!(writer.flush(LONG));
    writer.reopen();
    push(&queue, "three\n");
    assert!(writer.flush(LONG));
    assert_eq!((read(&moved), read(&path)), ("one\ntwo\n".into(), "three\n".into()));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    writer.reopen();
    push(&queue, "into the removed file\n");
    assert_eq!(writer.flush_and_stop(LONG), 0, "a reopen that fails keeps the old file");
    assert_eq!(names(&events, &events_path), ["log_reopen_failed"]);
}

#[test]
fn none_formats_nothing_and_can_be_switched() {
    let folder = Folder::new();
    let writer = LogWriter::start(Output::None, 4096).unwrap();
    let queue = writer.worker();
    assert!(!queue.is_on());
    queue.push_with(|_| panic!("formatted for nobody"));
    let path = folder.file("log");
    writer.retarget(Output::File(path.clone())).unwrap();
    assert!(queue.is_on());
    push(&queue, "on");
    push(&queue, "");
    assert!(writer.flush(LONG));
    writer.retarget(Output::None).unwrap();
    queue.push_with(|_| panic!("formatted for nobody"));
    assert_eq!(writer.flush_and_stop(LONG), 0);
    assert_eq!(read(&path), "on\n");
}

/// The thread may be anywhere in its round when the output changes, which is what the many turns are for.
#[test]
fn no_line_goes_to_the_output_before_the_one_it_was_pushed_for() {
    let folder = Folder::new();
    let path = folder.file("log");
    let writer = LogWriter::start(Output::None, 4096).unwrap();
    let queue = writer.worker();
    let turns = 2_000;
    for _ in 0..turns {
        writer.retarget(Output::File(path.clone())).unwrap();
        push(&queue, "on\n");
        assert!(writer.flush(LONG));
        writer.retarget(Output::None).unwrap();
    }
    assert_eq!(writer.flush_and_stop(LONG), 0);
    assert_eq!(read(&path).lines().count(), turns);

    let writer = LogWriter::start(Output::File(path.clone()), 4096).unwrap();
    let queue = writer.worker();
    for _ in 0..turns {
        push(&queue, "on\n");
        writer.retarget(Output::None).unwrap();
        assert!(writer.flush(LONG));
        writer.retarget(Output::File(path.clone())).unwrap();
    }
    assert_eq!(writer.flush_and_stop(LONG), 0);
    assert_eq!(read(&path).lines().count(), 2 * turns, "what was pushed before the log went off was owed");
}

#[test]
fn after_a_stop_nobody_waits_and_lines_are_counted() {
    let folder = Folder::new();
    let path = folder.file("log");
    let writer = LogWriter::start(Output::File(path.clone()), 4096).unwrap();
    let queue = writer.worker();
    push(&queue, "before\n");
    assert_eq!(writer.flush_and_stop(LONG), 0);
    push(&queue, "after\n");
    // With the thread gone these would otherwise wait for the whole of a time that no test has.
    assert!(writer.flush(Duration::MAX));
    assert_eq!(writer.flush_and_stop(Duration::MAX), 1);
    assert!(writer.retarget(Output::Stdout).is_ok() && !queue.is_on());
    assert_eq!(read(&path), "before\n");
}

#[test]
fn an_ended_worker_and_a_dropped_writer_lose_nothing() {
    let (mut reader, output) = pipe();
    let writer = LogWriter::start(output, 4096).unwrap();
    let queue = writer.worker();
    push(&queue, "last words\n");
    drop(queue);
    drop(writer);
    // The pipe ends when the thread does.
    let mut all = String::new();
    std::io::Read::read_to_string(&mut reader, &mut all).unwrap();
    assert_eq!(all, "last words\n");
}

#[test]
fn a_writer_at_rest_wakes_for_the_first_line() {
    let (mut reader, output) = pipe();
    let writer = LogWriter::start(output, 4096).unwrap();
    let queue = writer.worker();
    for n in 0..3 {
        while !writer.is_at_rest() {
            std::thread::yield_now();
        }
        push(&queue, &format!("{n}\n"));
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{n}\n"));
    }
}

#[test]
fn a_panic_while_formatting_leaves_no_half_line() {
    let (mut reader, output) = pipe();
    let writer = LogWriter::start(output, 4096).unwrap();
    let queue = writer.worker();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        queue.push_with(|out| {
            out.extend_from_slice(b"half a ");
            panic!("while formatting");
        });
    }));
    assert!(panicked.is_err());
    push(&queue, "whole\n");
    assert_eq!(writer.flush_and_stop(LONG), 0);
    drop(writer);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "whole\n");
}

#[test]
fn lines_of_many_workers_stay_whole_and_in_order() {
    const WORKERS: usize = 4;
    const LINES: usize = 2_000;
    let folder = Folder::new();
    let path = folder.file("log");
    let writer = LogWriter::start(Output::File(path.clone()), 1 << 20).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let queue = writer.worker();
            scope.spawn(move || (0..LINES).for_each(|n| push(&queue, &format!("{worker} {n}\n"))));
        }
    });
    assert_eq!(writer.flush_and_stop(LONG), 0);
    let text = read(&path);
    assert_eq!(text.lines().count(), WORKERS * LINES);
    for worker in 0..WORKERS {
        let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{worker} ")));
        assert!(own.map(|n| n.parse::<usize>().unwrap()).eq(0..LINES), "worker {worker}");
    }
}
