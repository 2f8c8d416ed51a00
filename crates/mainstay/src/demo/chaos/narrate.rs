//! The narration: sentences with the time since the start, the table of scenes, the proof.

use std::fmt::Write as _;
use std::time::Duration;

use super::clients::Outcome;
use super::engine::LogLine;
use super::proof::Proof;
use super::stage::Stage;
use super::tally::{Tally, percent};

/// A line does not become wider than this, if its words let it.
const WIDTH: usize = 118;

/// Who a sentence is about.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// What is done to the services.
    Done,
    /// What the clients saw.
    Clients,
    /// What the engine did, and where one sees it.
    Engine,
    /// A line of the access log.
    Log,
    /// The keys of the configuration that make the difference.
    Keys,
}

impl Of {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Clients => "clients",
            Self::Engine => "engine",
            Self::Log => "log",
            Self::Keys => "keys",
        }
    }
}

impl Stage<'_> {
    pub(super) fn title(&self, title: &str) {
        let number = self.rows.len() + 1;
        let line = format!("\n{} Scene {number}: {title}\n", self.time());
        (self.ground.say)(&line);
    }

    pub(super) fn tell(&self, of: Of, sentence: &str) {
        let lead = format!("{} {:8}", self.time(), of.label());
        (self.ground.say)(&wrapped(&lead, sentence));
    }

    /// A line of the log that shows it, if there is one.
    pub(super) fn quote(&self, lines: &[LogLine], is_meant: impl Fn(&LogLine) -> bool) {
        if let Some(line) = lines.iter().rev().find(|line| is_meant(line)) {
            self.tell(Of::Log, &line.words());
        }
    }

    pub(super) fn tell_clients(&self, outcomes: &[Outcome]) {
        self.tell(Of::Clients, &seen(&Tally::of(outcomes)));
        let safe = Tally::safe(outcomes);
        let (good, requests) = (safe.good, safe.requests);
        let share = percent(good, requests);
        self.tell(
            Of::Clients,
            &format!(
                "Of {} that may be repeated (GET), {good} were good: {share}.",
                count(requests, "request")
            ),
        );
    }

    fn time(&self) -> String {
        format!("[{:5.1} s]", self.began.elapsed().as_secs_f64())
    }

    /// All scenes beside each other.
    pub(super) fn table(&self) {
        let width = self.rows.iter().map(|(title, ..)| title.len()).max().unwrap_or(0);
        let mut text = format!(
            "\n{:width$}  {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}\n",
            "Scene", "requests", "good", "success", "of GETs", "degraded", "p50 ms", "p99 ms"
        );
        for (title, all, safe) in &self.rows {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{title:width$}  {:>8} {:>8} {:>8} {:>8} {:>9} {:>9.1} {:>9.1}",
                all.requests,
                all.good,
                percent(all.good, all.requests),
                percent(safe.good, safe.requests),
                all.degraded,
                all.p50_ms,
                all.p99_ms,
            );
        }
        (self.ground.say)(&text);
    }

    pub(super) fn proof(&self, proof: &Proof) {
        let Proof { asked, accepted, accepted_missing, refused, refused_booked, open, open_booked, .. } =
            proof;
        let text = format!(
            "\nPayments, each with a reference of its own, against the books of the services:\n\
             {asked:>8} asked for\n\
             {accepted:>8} accepted (201); {} of them in the books, {accepted_missing} missing\n\
             {refused:>8} refused with the word that nothing was sent; {refused_booked} of them in the books\n\
             {open:>8} answered in doubt (the connection broke off); {open_booked} of them in the books, the others not\n\
             {:>8} in the books; the services have counted {}\n\
             {:>8} in the books twice\n",
            accepted - accepted_missing,
            proof.booked(),
            count(proof.effects, "effect"),
            proof.twice,
        );
        (self.ground.say)(&text);
        (self.ground.say)(if proof.holds() {
            "No payment happened twice, and none that was accepted is missing.\n\n"
        } else {
            "THE PROOF FAILS: a payment happened twice, is missing, or was called undone although it is booked.\n\n"
        });
    }
}

/// The first sentence about a scene.
fn seen(tally: &Tally) -> String {
    let mut text = format!(
        "{}: {} good, {} failed; p50 {:.1} ms, p99 {:.1} ms.",
        count(tally.requests, "request"),
        tally.good,
        tally.failed(),
        tally.p50_ms,
        tally.p99_ms
    );
    if !tally.failures.is_empty() {
        let failures: Vec<_> = tally.failures.iter().map(|(code, times)| format!("{times} {code}")).collect();
        text.push_str(&format!(" Failures: {}.", failures.join(", ")));
    }
    text
}

/// A number with its noun.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A time as people read it.
pub(super) fn show(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// The sentence behind its lead; further lines are as far in.
fn wrapped(lead: &str, sentence: &str) -> String {
    let indent = lead.chars().count();
    let mut text = lead.to_owned();
    let mut column = indent;
    for word in sentence.split(' ') {
        let width = word.chars().count() + 1;
        if column > indent && column + width > WIDTH {
            // Writing into a String cannot fail.
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        }
        text.push(' ');
        text.push_str(word);
        column += width;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_long_sentence_stays_below_its_lead() {
        let words = "word ".repeat(50);
        let text = wrapped("[  1.0 s] done    ", words.trim_end());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() <= super::WIDTH), "{text}");
        assert!(lines[1..].iter().all(|line| line.starts_with(&" ".repeat(19))), "{text}");
        assert_eq!(text.matches("word").count(), 50);
        let whole = "x".repeat(300);
        assert_eq!(wrapped("a", &whole), format!("a {whole}\n"), "what cannot be broken stays whole");
    }
}
