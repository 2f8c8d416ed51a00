//! A strict reader of the Prometheus text format 0.0.4, for tests: it refuses what `promtool check metrics` does.

use std::collections::{BTreeMap, BTreeSet};

/// Series and their values, `name{labels}` as written.
pub(super) type Values = BTreeMap<String, f64>;

type Labels = Vec<(String, String)>;

/// Reads an exposition.
///
/// # Errors
/// The first line that is not as the format wants it, or as this crate promises (sorted families and series).
pub(super) fn read(text: &str) -> Result<Values, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line is not ended".into());
    }
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line).map_err(|why| format!("{why}: {line}"))?;
    }
    reader.end_family()?;
    Ok(reader.values)
}

#[derive(Default)]
struct Reader {
    values: Values,
    family: String,
    kind: String,
    samples: usize,
    series_before: String,
    /// For each histogram series without `le`: the last bound, its count, and whether sum and count were seen.
    histograms: BTreeMap<String, (f64, f64, bool)>,
    families: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.end_family()?;
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            if help.is_empty() || name <= self.family.as_str() || !self.families.insert(name.into()) {
                return Err("families are not sorted, or without help".into());
            }
            (self.family, self.kind, self.samples) = (name.into(), String::new(), 0);
            self.series_before.clear();
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            let known = ["counter", "gauge", "histogram"].contains(&kind);
            if name != self.family || !self.kind.is_empty() || !known {
                return Err("a type without its help, or twice".into());
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err("counters, and only they, end in _total".into());
            }
            self.kind = kind.into();
            return Ok(());
        }
        self.sample(line)
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let number: f64 = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            value if value.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                value.parse().map_err(|_| "no number")?
            }
            _ => return Err("no number".into()),
        };
        let (name, labels) = split_series(series)?;
        self.samples += 1;
        let suffix = name.strip_prefix(&self.family).ok_or("a sample outside its family")?;
        match (self.kind.as_str(), suffix) {
            ("counter", "") if number < 0.0 || value.contains('.') => return Err("no count".into()),
            ("counter" | "gauge", "") => {
                if series <= self.series_before.as_str() {
                    return Err("series are not sorted".into());
                }
                self.series_before = series.into();
            }
            ("histogram", "_bucket" | "_sum" | "_count") => self.histogram(suffix, labels, number)?,
            _ => return Err("a sample that does not fit its type".into()),
        }
        match self.values.insert(series.into(), number) {
            None => Ok(()),
            Some(_) => Err("a series twice".into()),
        }
    }

    fn histogram(&mut self, suffix: &str, mut labels: Labels, number: f64) -> Result<(), String> {
        let le = labels.iter().position(|(name, _)| name == "le").map(|at| labels.remove(at).1);
        let state = self.histograms.entry(format!("{labels:?}")).or_insert((f64::NEG_INFINITY, 0.0, false));
        match (suffix, le) {
            ("_bucket", Some(le)) => {
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| "no bound")? };
                if bound <= state.0 || number < state.1 {
                    return Err("buckets do not grow".into());
                }
                (state.0, state.1) = (bound, number);
                Ok(())
            }
            ("_sum", None) if state.0 == f64::INFINITY && number >= 0.0 => Ok(()),
            ("_count", None) if number.to_bits() == state.1.to_bits() => {
                state.2 = true;
                Ok(())
            }
            _ => Err("sum or count do not fit the buckets".into()),
        }
    }

    fn end_family(&mut self) -> Result<(), String> {
        let histograms = std::mem::take(&mut self.histograms);
        if histograms.values().any(|(bound, _, counted)| *bound != f64::INFINITY || !counted) {
            return Err(format!("{}: a histogram without +Inf or count", self.family));
        }
        if !self.family.is_empty() && (self.samples == 0 || self.kind.is_empty()) {
            return Err(format!("{}: a family without type or samples", self.family));
        }
        Ok(())
    }
}

fn split_series(series: &str) -> Result<(&str, Labels), String> {
    let Some((name, rest)) = series.split_once('{') else { return Ok((series, Vec::new())) };
    let mut rest = rest.strip_suffix('}').ok_or("an open brace")?;
    let mut labels = Vec::new();
    loop {
        let (label, after) = rest.split_once("=\"").ok_or("a label without value")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if label.is_empty() || !label.chars().all(fits) || label.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a label name".into());
        }
        let (value, after) = unescape(after)?;
        labels.push((label.to_owned(), value));
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok((name, labels)),
            None => return Err("something after a label".into()),
        }
    }
}

/// A label value up to its closing quote, and what follows.
fn unescape(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("an unknown escape".into()),
            },
            c => value.push(c),
        }
    }
    Err("an open label value".into())
}

#[test]
fn the_reader_refuses_what_promtool_refuses() {
    let bad = [
        "a_total 1",
        "a_total 1\n",
        "# HELP a_total h\n# TYPE a_total counter\n",
        "# HELP a_total h\n# TYPE a_total counter\na_total -1\n",
        "# HELP a h\n# TYPE a counter\na 1\n",
        "# HELP a h\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a h\n# TYPE a gauge\na{b=\"c\nd\"} 1\n",
        "# HELP a h\n# TYPE a gauge\na{b=\"c\\d\"} 1\n",
        "# HELP a h\n# TYPE a gauge\na{1b=\"c\"} 1\n",
        "# HELP a h\n# TYPE a gauge\na inf\n",
        "# HELP b h\n# TYPE b gauge\nb 1\n# HELP a h\n# TYPE a gauge\na 1\n",
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
    ];
    for text in bad {
        assert!(read(text).is_err(), "{text}");
    }
    let good =
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n";
    assert_eq!(read(good).map(|values| values.len()), Ok(4));
}
