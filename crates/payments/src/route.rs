//! Which operation a method and a path mean.
//!
//! The path is matched as it came: the caller in front is expected to send canonical paths, and a test wants to see what it
//! really sent.

use http::Method;

use crate::problem::Problem;

/// The two shapes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::V1 => "/v1",
            Self::V2 => "/v2",
        }
    }
}

/// An operation with its path parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    Api(Version, Operation<'p>),
    Utility(Utility),
    Faults,
    Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'p> {
    GetAccount(&'p str),
    ListPayments,
    CreatePayment,
    GetPayment(&'p str),
    CancelPayment(&'p str),
    CreateRefund(&'p str),
    GetRefund(&'p str),
    ListBanks,
    PaymentEvents(&'p str),
}

/// Operations that exist for tests and probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Utility {
    Health,
    Echo,
    Bytes { count: u64 },
    Chunks { count: u64, size: u64 },
    Upload,
    Slow { ms: u64 },
}

/// The largest body `/bytes` and `/chunks` make.
pub(crate) const BODY_MAX: u64 = 1 << 30;
/// The longest wait of `/slow`.
pub(crate) const SLOW_MAX_MS: u64 = 600_000;

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, Problem> {
    match path {
        "/_faults" => return only(method, &["GET", "PUT"], "GET, PUT", Route::Faults),
        "/_stats" => return only(method, &["GET"], "GET", Route::Stats),
        _ => {}
    }
    let (version, rest) = match path.split_at_checked(3) {
        Some(("/v1", rest)) if rest.starts_with('/') => (Some(Version::V1), rest),
        Some(("/v2", rest)) if rest.starts_with('/') => (Some(Version::V2), rest),
        _ => (None, path),
    };
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    if let Some(found) = utility(method, &segments) {
        return found.map(Route::Utility);
    }
    let Some(version) = version else { return Err(Problem::not_found("such path")) };
    operation(method, &segments).map(|operation| Route::Api(version, operation))
}

fn operation<'p>(method: &Method, segments: &[&'p str]) -> Result<Operation<'p>, Problem> {
    let get = |operation| only(method, &["GET"], "GET, HEAD", operation);
    let post = |operation| only(method, &["POST"], "POST", operation);
    match *segments {
        ["accounts", id] => get(Operation::GetAccount(id)),
        ["banks"] => get(Operation::ListBanks),
        ["payments"] if method == Method::POST => Ok(Operation::CreatePayment),
        ["payments"] => only(method, &["GET", "POST"], "GET, HEAD, POST", Operation::ListPayments),
        ["payments", last] => match last.strip_suffix(":cancel") {
            Some(id) => post(Operation::CancelPayment(id)),
            None => get(Operation::GetPayment(last)),
        },
        ["payments", id, "refunds"] => post(Operation::CreateRefund(id)),
        ["payments", id, "events"] => get(Operation::PaymentEvents(id)),
        ["refunds", id] => get(Operation::GetRefund(id)),
        _ => Err(Problem::not_found("such path")),
    }
}

fn utility(method: &Method, segments: &[&str]) -> Option<Result<Utility, Problem>> {
    let get = |utility: Result<Utility, Problem>| only(method, &["GET"], "GET, HEAD", ()).and(utility);
    Some(match *segments {
        ["healthz"] => get(Ok(Utility::Health)),
        ["echo"] => Ok(Utility::Echo),
        ["bytes", count] => get(number("n", count, BODY_MAX).map(|count| Utility::Bytes { count })),
        ["chunks", count, size] => get(chunks(count, size)),
        ["upload"] => only(method, &["POST", "PUT"], "POST, PUT", Utility::Upload),
        ["slow", ms] => get(number("ms", ms, SLOW_MAX_MS).map(|ms| Utility::Slow { ms })),
        _ => return None,
    })
}

fn chunks(count: &str, size: &str) -> Result<Utility, Problem> {
    let count = number("n", count, BODY_MAX)?;
    let size = number("size", size, BODY_MAX)?;
    if size == 0 || count.saturating_mul(size) > BODY_MAX {
        return Err(Problem::parameter("size", format!("at least 1, and n times size at most {BODY_MAX}")));
    }
    Ok(Utility::Chunks { count, size })
}

fn number(name: &'static str, text: &str, max: u64) -> Result<u64, Problem> {
    let parsed = text.parse().ok().filter(|&number: &u64| number <= max);
    parsed.ok_or_else(|| Problem::parameter(name, format!("a whole number from 0 to {max}")))
}

/// `value` if the method is one of `methods` (HEAD goes with GET), else 405 with `allow`.
fn only<T>(method: &Method, methods: &[&str], allow: &'static str, value: T) -> Result<T, Problem> {
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    if methods.contains(&asked) {
        return Ok(value);
    }
    let detail = format!("{method} is not possible here; {allow} is.");
    let mut problem = Problem::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    problem.allow = Some(allow);
    Err(problem)
}

/// The value of a query parameter, undecoded: all values of this service are plain words and numbers.
pub(crate) fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// A whole number from the query within `min..=max`, or `default` where it is absent.
pub(crate) fn query_number(
    query: Option<&str>,
    name: &'static str,
    (min, default, max): (u64, u64, u64),
) -> Result<u64, Problem> {
    let Some(text) = query_value(query, name) else { return Ok(default) };
    let parsed = text.parse().ok().filter(|number| (min..=max).contains(number));
    parsed.ok_or_else(|| Problem::parameter(name, format!("a whole number from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Operation, Route, Utility, Version, find, query_number};

    fn refused(method: &str, path: &str, status: u16, allow: Option<&str>) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let problem = find(&method, path).expect_err(path);
        assert_eq!((problem.status.as_u16(), problem.allow), (status, allow), "{method} {path}");
    }

    #[test]
    fn what_is_not_there() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v3/banks",
            "/banks",
            "/v1/banks/",
            "/v1//banks",
            "/v1/payments/1/2/3",
            "/v1/_faults",
        ] {
            refused("GET", path, 404, None);
        }
        refused("DELETE", "/v2/banks", 405, Some("GET, HEAD"));
        refused("PUT", "/v1/payments", 405, Some("GET, HEAD, POST"));
        refused("GET", "/v1/payments/pay_000001:cancel", 405, Some("POST"));
        refused("POST", "/v1/bytes/3", 405, Some("GET, HEAD"));
        refused("PATCH", "/_faults", 405, Some("GET, PUT"));
        for path in
            ["/bytes/x", "/bytes/-1", "/bytes/99999999999", "/chunks/1/0", "/chunks/2000000000/2", "/slow/1h"]
        {
            refused("GET", path, 400, None);
        }
    }

    #[test]
    fn what_is_there() {
        let rows = [
            ("GET", "/v1/accounts/a", Route::Api(Version::V1, Operation::GetAccount("a"))),
            ("HEAD", "/v2/payments", Route::Api(Version::V2, Operation::ListPayments)),
            ("POST", "/v2/payments", Route::Api(Version::V2, Operation::CreatePayment)),
            ("POST", "/v2/payments/p:cancel", Route::Api(Version::V2, Operation::CancelPayment("p"))),
            ("POST", "/v1/payments/p/refunds", Route::Api(Version::V1, Operation::CreateRefund("p"))),
            ("GET", "/v1/payments/p/events", Route::Api(Version::V1, Operation::PaymentEvents("p"))),
            ("BREW", "/echo", Route::Utility(Utility::Echo)),
            ("GET", "/v1/bytes/7", Route::Utility(Utility::Bytes { count: 7 })),
            ("PUT", "/_faults", Route::Faults),
        ];
        for (method, path, route) in rows {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(find(&method, path).expect(path), route, "{method} {path}");
        }
    }

    #[test]
    fn numbers_of_the_query_have_bounds() {
        let bounds = (1, 20, 100);
        for query in ["limit=0", "limit=101", "limit=", "limit=ten", "a=b&limit=-1"] {
            assert!(query_number(Some(query), "limit", bounds).is_err(), "{query}");
        }
        for (query, number) in [(None, 20), (Some("limitless=7"), 20), (Some("a=b&limit=7"), 7)] {
            assert_eq!(query_number(query, "limit", bounds).expect("in bounds"), number);
        }
    }
}
