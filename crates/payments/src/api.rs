//! The operations of the payments API: from a read request to an answer, without any I/O.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::ledger::{Ledger, Refusal, number_of};
use crate::problem::Problem;
use crate::reply::{Events, Source, json};
use crate::route::{Operation, Version, query_number, query_value};
use crate::shape;
use crate::stats::Stats;

/// The largest body of a write.
pub(crate) const BODY_MAX_BYTES: usize = 64 * 1024;

/// What an operation looks at.
pub(crate) struct Call<'c> {
    pub(crate) version: Version,
    pub(crate) query: Option<&'c str>,
    pub(crate) headers: &'c HeaderMap,
    pub(crate) body: &'c [u8],
}

pub(crate) fn answer(
    ledger: &Ledger,
    stats: &Stats,
    operation: Operation<'_>,
    call: &Call<'_>,
) -> Result<Response<Source>, Problem> {
    let version = call.version;
    match operation {
        Operation::GetAccount(id) => {
            let account = ledger.account(id).ok_or_else(|| Problem::not_found("such account"))?;
            Ok(json(StatusCode::OK, &shape::account(version, &account)))
        }
        Operation::ListPayments => list(ledger, call),
        Operation::CreatePayment => create(ledger, stats, call),
        Operation::GetPayment(id) => {
            let payment = ledger.payment(id).ok_or_else(|| Problem::not_found("such payment"))?;
            Ok(json(StatusCode::OK, &shape::payment(version, &payment)))
        }
        Operation::CancelPayment(id) => {
            let payment = ledger.cancel(id).map_err(refused)?;
            stats.effect();
            Ok(json(StatusCode::OK, &shape::payment(version, &payment)))
        }
        Operation::CreateRefund(id) => give_back(ledger, stats, id, call),
        Operation::GetRefund(id) => {
            let refund = ledger.refund(id).ok_or_else(|| Problem::not_found("such refund"))?;
            Ok(json(StatusCode::OK, &shape::refund(version, &refund)))
        }
        Operation::ListBanks => Ok(banks(call)),
        Operation::PaymentEvents(id) => events(ledger, id, call),
    }
}

fn list(ledger: &Ledger, call: &Call<'_>) -> Result<Response<Source>, Problem> {
    let limit = query_number(call.query, "limit", (1, 20, 100))?;
    let after = match (call.version, query_value(call.query, "after")) {
        (Version::V1, _) | (_, None) => None,
        (Version::V2, Some(id)) => {
            let number = number_of(id, "pay_");
            Some(number.ok_or_else(|| Problem::parameter("after", "the `next` of an earlier page"))?)
        }
    };
    let (payments, more) = ledger.payments(usize::try_from(limit).unwrap_or(usize::MAX), after);
    let next = if more { payments.last().map(crate::ledger::Payment::id) } else { None };
    let items = payments.iter().map(|payment| shape::payment(call.version, payment)).collect();
    Ok(json(StatusCode::OK, &shape::list(call.version, items, next.as_deref())))
}

fn create(ledger: &Ledger, stats: &Stats, call: &Call<'_>) -> Result<Response<Source>, Problem> {
    wants_json(call.headers)?;
    let new = shape::read_payment(call.version, call.body)?;
    let payment = ledger.pay(new).map_err(refused)?;
    stats.effect();
    Ok(created(call.version, "payments", &payment.id(), &shape::payment(call.version, &payment)))
}

fn give_back(ledger: &Ledger, stats: &Stats, id: &str, call: &Call<'_>) -> Result<Response<Source>, Problem> {
    wants_json(call.headers)?;
    let payment = ledger.payment(id).ok_or_else(|| Problem::not_found("such payment"))?;
    let (amount, reason) = shape::read_refund(call.version, call.body, payment.amount.currency)?;
    let refund = ledger.give_back(id, amount, reason).map_err(refused)?;
    stats.effect();
    Ok(created(call.version, "refunds", &refund.id(), &shape::refund(call.version, &refund)))
}

fn created(version: Version, collection: &str, id: &str, body: &Value) -> Response<Source> {
    let mut response = json(StatusCode::CREATED, body);
    let location = format!("{}/{collection}/{id}", version.prefix());
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::try_from(location).expect("ids are plain text"));
    response
}

/// Reference data never changes while the process runs, so its tag is that of the version's shape.
fn banks(call: &Call<'_>) -> Response<Source> {
    let tag = match call.version {
        Version::V1 => HeaderValue::from_static("\"banks-v1\""),
        Version::V2 => HeaderValue::from_static("\"banks-v2\""),
    };
    let known = call.headers.get(header::IF_NONE_MATCH) == Some(&tag);
    let mut response = if known {
        let mut response = Response::new(Source::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json(StatusCode::OK, &shape::banks(call.version))
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}

fn events(ledger: &Ledger, id: &str, call: &Call<'_>) -> Result<Response<Source>, Problem> {
    let count = query_number(call.query, "count", (1, 3, 1_000))?;
    let interval_ms = query_number(call.query, "interval_ms", (0, 1_000, 60_000))?;
    let payment = ledger.payment(id).ok_or_else(|| Problem::not_found("such payment"))?;
    let data = shape::event(call.version, &payment);
    let mut response = Response::new(Source::Events(Events::new(&data, count, interval_ms)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn wants_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "Send `Content-Type: application/json`.";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

fn refused(refusal: Refusal) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    let rejected = |code, detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    match refusal {
        Refusal::UnknownPayment => Problem::not_found("such payment"),
        Refusal::UnknownAccount => rejected("unknown_account", "There is no such account.".to_owned()),
        Refusal::CurrencyMismatch(currency) => {
            rejected("currency_mismatch", format!("Only {currency} can be moved here."))
        }
        Refusal::InsufficientFunds(left) => {
            rejected("insufficient_funds", format!("The account holds {} {}.", left.decimal(), left.currency))
        }
        Refusal::NotCancellable(status) => conflict(
            "not_cancellable",
            format!("The payment is {}; only an accepted one can be cancelled.", status.as_str()),
        ),
        Refusal::RefundAboveRest(rest) => conflict(
            "refund_above_rest",
            format!("{} {} can still be refunded.", rest.decimal(), rest.currency),
        ),
        Refusal::TooManyRefunds => {
            conflict("too_many_refunds", "The payment has 100 refunds already.".to_owned())
        }
    }
}
