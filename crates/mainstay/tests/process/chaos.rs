//! `mainstay demo --chaos` from outside: what it tells is whole, agrees with itself, and money moves once.
//!
//! The script is played with its least times shortened. What is asserted holds at any speed of the machine.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use crate::run::{Process, ask, mainstay};

/// The scenes, in their order.
const SCENES: [&str; 9] = [
    "All is well",
    "One of three endpoints refuses",
    "An endpoint turns slow",
    "Answers break off in the middle",
    "All three are gone",
    "The standby goes, too",
    "Recovery",
    "Too much of it",
    "An endpoint comes and goes",
];

fn start(more: &[&str]) -> Process {
    let mut command = mainstay(Path::new("/"));
    command.args(["demo", "--chaos", "--chaos-speed", "1000"]).args(more);
    Process::start(&mut command)
}

/// Waits for a text. Each one is waited for on its own, so the guard is one of a scene and not of the whole script.
#[track_caller]
fn wait_for(demo: &Process, text: &str) {
    demo.out_until(|out| out.contains(text).then_some(()));
}

/// A scene's text, its wrapped lines joined.
#[track_caller]
fn scene(out: &str, number: usize) -> String {
    let head = format!("Scene {number}: {}\n", SCENES[number - 1]);
    let rest = out.split(&head).nth(1).unwrap_or_else(|| panic!("no {head}\n{out}"));
    joined(rest.split("\n\n").next().unwrap())
}

fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number in front of some words.
#[track_caller]
fn number(text: &str, behind: &str) -> u64 {
    let before = text.split(behind).next().filter(|before| before.len() < text.len());
    let before = before.unwrap_or_else(|| panic!("no {behind:?} in {text}"));
    let word = before.split_whitespace().last().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{word:?} before {behind:?} in {text}"))
}

/// The number behind some words.
#[track_caller]
fn number_after(text: &str, before: &str) -> u64 {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {before:?} in {text}"))
}

/// Figures of a scene's row in the table: requests, good.
#[track_caller]
fn row(out: &str, title: &str) -> (u64, u64) {
    let table = out.split("\nScene ").last().unwrap();
    let line = table.lines().find_map(|line| line.strip_prefix(title)).unwrap_or_else(|| panic!("{table}"));
    let figures: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    (figures[0].parse().unwrap(), figures[1].parse().unwrap())
}

/// What the introduction says behind a label.
#[track_caller]
fn introduced<'o>(out: &'o str, label: &str) -> &'o str {
    let line = out.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| panic!("{label}: {out}"))
}

/// No file, no listener.
#[track_caller]
fn left_nothing(out: &str) {
    let configuration = Path::new(introduced(out, "configuration"));
    assert!(configuration.is_absolute() && !configuration.parent().unwrap().exists(), "{configuration:?}");
    let services = out.lines().filter_map(|line| line.trim_start().strip_prefix("payments service"));
    let services = services.map(|rest| rest.split_whitespace().next().unwrap());
    for url in services.chain(["the engine", "control"].map(|label| introduced(out, label))) {
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        assert!(TcpStream::connect(address).is_err(), "{address} is listened on");
    }
}

#[test]
fn the_script_tells_what_happened_and_no_payment_happens_twice() {
    let mut demo = start(&[]);
    for (at, title) in SCENES.iter().enumerate() {
        wait_for(&demo, &format!(" s] Scene {}: {title}\n", at + 1));
    }
    assert_eq!(demo.code(), 0, "{}\n{}", demo.out(), demo.err());
    let out = demo.out();
    assert!(out.ends_with("stopped\n"), "{out}");
    for (at, title) in SCENES.iter().enumerate() {
        every_scene(&out, at + 1, title);
    }
    one_refuses(&scene(&out, 2));
    answers_break_off(&scene(&out, 4));
    all_gone(&scene(&out, 5));
    standby_gone(&scene(&out, 6));
    recovery(&scene(&out, 7));
    too_much(&scene(&out, 8));
    proof(&out);
    for event in ["endpoint_ejected", "circuit_opened", "circuit_closed"] {
        demo.event(event, 1);
    }
    left_nothing(&out);
}

/// Each scene says what is done, what clients saw, and what the engine did; and the table says the same.
fn every_scene(out: &str, at: usize, title: &str) {
    let told = scene(out, at);
    for label in ["s] done ", "s] clients ", "s] engine "] {
        assert!(told.contains(label), "{title}: no {label}: {told}");
    }
    let (good, failed) = (number(&told, " good, "), number(&told, " failed; p50 "));
    assert_eq!(row(out, title), (good + failed, good), "{told}");
    assert!(good + failed > 0, "{told}");
    // Of a scene about failures the keys are named that made the difference.
    assert_eq!(told.contains("s] keys "), at > 1, "{told}");
}

/// Whoever reads does not notice; the engine says how often it was met and that it was left out.
fn one_refuses(told: &str) {
    assert!(told.contains(" were good: 100 %."), "{told}");
    assert!(number_after(told, "mainstay_retries_total grew by") >= 1, "{told}");
    assert!(number_after(told, "payments-a was left out, at first for") >= 1, "{told}");
    assert!(told.contains("s] log chaos-"), "{told}");
}

/// A payment whose connection broke is in doubt and in the books; none is there twice.
fn answers_break_off(told: &str) {
    assert!(told.contains("in the books none of them is twice."), "{told}");
    assert!(told.contains("502, attempts 1, problem upstream_reset"), "{told}");
}

/// What clients were told to be degraded, the engine has counted.
fn all_gone(told: &str) {
    assert!(told.contains("its circuit was open"), "{told}");
    let seen = number_after(told, "Clients saw");
    assert!(seen >= 20, "{told}");
    assert_eq!(number_after(told, "mainstay_degraded_total grew by"), seen, "{told}");
    assert!(told.contains(", degraded upstream, "), "{told}");
}

/// `Retry-After` is no longer than the circuit is open at most: 4 s and no more.
fn standby_gone(told: &str) {
    assert!(number(told, " circuit_open.") >= 20, "{told}");
    let waits = told.split("one after the other: ").nth(1).unwrap().split('.').next().unwrap();
    for wait in waits.split(", ") {
        let wait: u64 = wait.strip_suffix(" s").unwrap_or_else(|| panic!("{told}")).parse().unwrap();
        assert!((1..=4).contains(&wait), "{told}");
    }
}

fn recovery(told: &str) {
    assert!(told.contains("closed after"), "{told}");
    assert!(!told.contains("never"), "{told}");
}

/// Payments never do worse than lists, and the queue was in use.
fn too_much(told: &str) {
    let share = |class: &str| {
        let rest = told.split(class).nth(1).unwrap_or_else(|| panic!("no {class} in {told}"));
        let words: Vec<_> = rest.split_whitespace().collect();
        (words[0].parse::<u64>().unwrap(), words[2].parse::<u64>().unwrap())
    };
    let (critical, low) = (share("(priority: critical):"), share("Lists (low):"));
    assert!(critical.0 * low.1 >= low.0 * critical.1, "{told}");
    let shed = number(told, " queue_full, ") + number(told, " queue_timeout. ");
    assert!(shed > 0, "{told}");
}

/// The sums agree, nothing is missing, nothing is there twice.
fn proof(out: &str) {
    let text = out.split("against the books of the services:\n").nth(1).unwrap_or_else(|| panic!("{out}"));
    let text = joined(text);
    let asked = number(&text, " asked for");
    let accepted = number(&text, " accepted (201)");
    let refused = number(&text, " refused with the word");
    let doubt = number(&text, " answered in doubt");
    assert_eq!(asked, accepted + refused + doubt, "{text}");
    assert!(accepted > 0 && refused > 0 && doubt > 0, "{text}");
    let of_them: Vec<_> = text.split(" of them in the books").collect();
    let of = |nth: usize| of_them[nth].split_whitespace().last().unwrap().parse::<u64>().unwrap();
    assert_eq!((of(0), number(&text, " missing"), of(1)), (accepted, 0, 0), "{text}");
    let booked = number(&text, " in the books; the services");
    assert_eq!(booked, accepted + of(2), "{text}");
    assert_eq!(number(&text, " effects"), booked, "{text}");
    assert_eq!(number(&text, " in the books twice"), 0, "{text}");
    assert!(text.contains("No payment happened twice, and none that was accepted is missing."), "{text}");
}

#[test]
fn a_script_that_is_interrupted_ends_in_good_order() {
    let mut demo = start(&[]);
    wait_for(&demo, "payments-a closes its port");
    demo.signal(Signal::INT);
    assert_eq!(demo.code(), 0, "{}", demo.err());
    let out = demo.out();
    assert!(out.ends_with("stopped\n") && !out.contains("No payment happened twice"), "{out}");
    left_nothing(&out);
}

#[test]
fn with_traffic_the_demo_goes_on_after_the_script() {
    let mut demo = start(&["--traffic"]);
    for at in 1..=SCENES.len() {
        wait_for(&demo, &format!(" s] Scene {at}: "));
    }
    wait_for(&demo, "The demo goes on, with traffic");
    demo.signal(Signal::TERM);
    assert_eq!(demo.code(), 0, "{}", demo.err());
    let out = demo.out();
    assert!(out.contains("\ntraffic: ") && out.ends_with("stopped\n"), "{out}");
}

#[test]
fn its_speed_is_for_the_script_alone() {
    for arguments in [&["demo", "--chaos-speed", "2"][..], &["demo", "--chaos", "--chaos-speed", "0"]] {
        let told = ask(Path::new("/"), arguments);
        assert!(told.code == 2 && told.err.contains("--chaos"), "{arguments:?} {told:?}");
    }
}
