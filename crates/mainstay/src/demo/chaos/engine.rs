//! What the engine says about itself: its admin API, its metrics and its access log, read as an operator would.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use mainstay_control::client::{AdminAddress, call};
use mainstay_control::token::Token;
use serde::Deserialize;
use serde_json::Value;

use super::ChaosError;

/// Where to ask.
pub(super) struct Asked {
    address: AdminAddress,
    token: Token,
    log: PathBuf,
}

/// An upstream, as `GET /admin/v1/upstreams` has it.
#[derive(Deserialize)]
pub(super) struct Upstream {
    pub(super) upstream: String,
    pub(super) endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub(super) breakers: Vec<Breaker>,
    pub(super) concurrency: Option<Concurrency>,
}

#[derive(Deserialize)]
pub(super) struct Endpoint {
    pub(super) endpoint: String,
    pub(super) health: String,
    pub(super) ejected_for_ms: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Breaker {
    pub(super) state: String,
}

#[derive(Deserialize)]
pub(super) struct Concurrency {
    pub(super) waiting: Vec<Waiting>,
}

#[derive(Deserialize)]
pub(super) struct Waiting {
    pub(super) requests: u64,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Upstream>,
}

/// A scrape: each series with its value.
pub(super) struct Metrics(BTreeMap<String, f64>);

/// A line of the access log.
pub(super) struct LogLine(Value);

impl Asked {
    pub(super) fn at(control: SocketAddr, folder: &Path) -> Result<Self, ChaosError> {
        let address =
            AdminAddress::of(control, false).map_err(|error| ChaosError::Engine(error.to_string()))?;
        let token = Token::load(&folder.join("mainstay.token"))
            .map_err(|error| ChaosError::Engine(error.to_string()))?;
        Ok(Self { address, token, log: folder.join("access.log") })
    }

    pub(super) async fn upstreams(&self) -> Result<Vec<Upstream>, ChaosError> {
        let body = self.get("/admin/v1/upstreams").await?;
        let items: Items = serde_json::from_slice(&body)
            .map_err(|error| ChaosError::Engine(format!("GET /admin/v1/upstreams: {error}")))?;
        Ok(items.items)
    }

    pub(super) async fn metrics(&self) -> Result<Metrics, ChaosError> {
        Ok(Metrics::read(&String::from_utf8_lossy(&self.get("/metrics").await?)))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, ChaosError> {
        let asked = call(&self.address, None, Method::GET, path, Some(&self.token), Vec::new());
        match asked.await.map_err(|error| ChaosError::Engine(error.to_string()))? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(ChaosError::Engine(format!("GET {path}: {status}"))),
        }
    }

    /// Where the access log ends now.
    pub(super) fn log_end(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// The whole lines from a place on.
    pub(super) fn log_from(&self, from: u64) -> io::Result<Vec<LogLine>> {
        let mut file = std::fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(LogLine).collect())
    }
}

impl Metrics {
    fn read(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let series = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// The sum of a metric's series that have all these labels.
    fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let of_metric =
            self.0.range(metric.to_owned()..).take_while(|(series, _)| series.starts_with(metric));
        let matches = |series: &str| {
            let of = &series[metric.len()..];
            (of.is_empty() || of.starts_with('{'))
                && labels.iter().all(|(label, value)| of.contains(&format!("{label}=\"{value}\"")))
        };
        of_metric.filter(|(series, _)| matches(series)).map(|(_, value)| value).sum()
    }

    /// By how much a counter has grown since an earlier scrape.
    pub(super) fn grown(&self, before: &Self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        (self.sum(metric, labels) - before.sum(metric, labels)).max(0.0) as u64
    }
}

impl LogLine {
    pub(super) fn attempts(&self) -> u64 {
        self.0["attempts"].as_u64().unwrap_or(0)
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.0["degraded"].is_string()
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.0["problem"].as_str()
    }

    /// What a person looks at first.
    pub(super) fn words(&self) -> String {
        let of = |key: &str| self.0[key].as_str().unwrap_or("-");
        let mut words = format!(
            "{} {} {}: {}, attempts {}",
            of("request_id"),
            of("method"),
            of("route"),
            self.0["status"],
            self.attempts()
        );
        for key in ["problem", "degraded"] {
            if let Some(value) = self.0[key].as_str() {
                words.push_str(&format!(", {key} {value}"));
            }
        }
        let trail = self.0["trail"].as_array().into_iter().flatten();
        let trail: Vec<_> = trail
            .map(|step| {
                let of = |key: &str| step[key].as_str().unwrap_or_default();
                format!("{}: {}", of("stage"), of("reason"))
            })
            .collect();
        if !trail.is_empty() {
            words.push_str(&format!(", trail [{}]", trail.join("; ")));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_are_summed_by_their_labels() {
        let text = "# HELP up_total x\nup_total 3\nup_total{a=\"1\",b=\"2\"} 4\nup_total{a=\"1\",b=\"3\"} 5\nup_total_more{a=\"1\"} 9\n";
        let (none, metrics) = (Metrics::read(""), Metrics::read(text));
        let rows: [(&[(&str, &str)], u64); 5] = [
            (&[], 12),
            (&[("a", "1")], 9),
            (&[("a", "1"), ("b", "3")], 5),
            (&[("a", "2")], 0),
            (&[("c", "1")], 0),
        ];
        for (labels, expected) in rows {
            assert_eq!(metrics.grown(&none, "up_total", labels), expected, "{labels:?}");
        }
        assert_eq!(none.grown(&metrics, "up_total", &[]), 0, "a counter that was reset has not grown");
    }
}
