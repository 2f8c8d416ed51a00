//! One scrape: values collected by family and series, then written as Prometheus text 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::cells::HISTOGRAM_WORDS;
use super::{BUCKETS_LE, Labels};

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const COUNT: usize = 3;

    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A series' value.
pub(super) enum Sample {
    /// Wide enough for a counter and for the sum of gauges.
    Integer(i128),
    Float(f64),
    Histogram(Box<[u64; HISTOGRAM_WORDS]>),
}

impl Sample {
    fn merged(self, other: Self) -> Self {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Self::Integer(a + b),
            (Self::Integer(a), Self::Float(b)) | (Self::Float(b), Self::Integer(a)) => {
                Self::Float(a as f64 + b)
            }
            (Self::Float(a), Self::Float(b)) => Self::Float(a + b),
            (Self::Histogram(mut a), Self::Histogram(b)) => {
                a.iter_mut().zip(*b).for_each(|(sum, n)| *sum = sum.wrapping_add(n));
                Self::Histogram(a)
            }
            (Self::Histogram(a), _) | (_, Self::Histogram(a)) => Self::Histogram(a),
        }
    }
}

struct Family {
    kind: Kind,
    help: &'static str,
    series: BTreeMap<Arc<str>, Sample>,
}

/// Where callbacks put their values. Values for the same name and labels are added up.
#[derive(Default)]
pub struct Scrape {
    families: BTreeMap<&'static str, Family>,
}

impl Scrape {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: f64) {
        self.add(Kind::Gauge, name, help, label_text(name, labels).into(), Sample::Float(value));
    }

    /// A value that only grows.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: u64) {
        self.add(Kind::Counter, name, help, label_text(name, labels).into(), Sample::Integer(value.into()));
    }

    /// A series under its labels as text. Of two kinds for one name the first stays: the text would be refused
    /// as a whole otherwise.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: Arc<str>,
        sample: Sample,
    ) {
        let family =
            self.families.entry(name).or_insert_with(|| Family { kind, help, series: BTreeMap::new() });
        debug_assert!(family.kind == kind, "metric {name} is reported as two kinds");
        if family.kind != kind {
            return;
        }
        let sample = match family.series.remove(&labels) {
            Some(before) => before.merged(sample),
            None => sample,
        };
        family.series.insert(labels, sample);
    }

    pub(super) fn into_text(self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        for (name, family) in self.families.iter().filter(|(_, family)| !family.series.is_empty()) {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            put(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", family.kind.name()));
            for (labels, sample) in &family.series {
                match sample {
                    Sample::Integer(value) => put_sample(&mut out, name, "", labels, format_args!("{value}")),
                    Sample::Float(value) => {
                        put_sample(&mut out, name, "", labels, format_args!("{}", float(*value)));
                    }
                    Sample::Histogram(words) => put_histogram(&mut out, name, labels, words),
                }
            }
        }
        out
    }
}

/// Labels as they stand between the braces, sorted by name.
///
/// # Panics
/// On a metric or label name that Prometheus does not allow: names come from the code.
pub(super) fn label_text(name: &str, labels: Labels<'_>) -> String {
    assert!(is_name(name, b"_:"), "{name:?} is no metric name");
    let mut sorted = labels.to_vec();
    sorted.sort_unstable_by_key(|(label, _)| *label);
    let mut text = String::new();
    let mut before = "";
    for (label, value) in sorted {
        assert!(is_name(label, b"_") && label != "le" && label != before, "{label:?} is no label of {name}");
        if !text.is_empty() {
            text.push(',');
        }
        before = label;
        text.push_str(label);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

fn is_name(name: &str, beside: &[u8]) -> bool {
    let allowed = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic() || beside.contains(&byte) || (at > 0 && byte.is_ascii_digit())
    };
    !name.is_empty() && name.bytes().enumerate().all(allowed)
}

fn float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

fn put_sample(out: &mut String, name: &str, suffix: &str, labels: &str, value: std::fmt::Arguments<'_>) {
    let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
    put(out, format_args!("{name}{suffix}{open}{labels}{close} {value}\n"));
}

fn put_histogram(out: &mut String, name: &str, labels: &str, words: &[u64; HISTOGRAM_WORDS]) {
    let comma = if labels.is_empty() { "" } else { "," };
    let (counts, sum_us) = words.split_at(HISTOGRAM_WORDS - 1);
    let mut below = 0_u64;
    for (le, count) in BUCKETS_LE.iter().chain(&["+Inf"]).zip(counts) {
        below = below.wrapping_add(*count);
        put(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {below}\n"));
    }
    put_sample(out, name, "_sum", labels, format_args!("{}", sum_us[0] as f64 / 1e6));
    put_sample(out, name, "_count", labels, format_args!("{below}"));
}
