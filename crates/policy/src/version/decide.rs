//! One request against the dated record.

use super::LifecyclePlan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `deprecated`: the date has passed, so the request is counted as one that has to move.
    Serve { deprecated: bool },
    /// Refuse, 503 `version_brownout`. `retry_after_s` (at least 1) are the seconds until the last of the windows that
    /// refuse this request ends.
    Brownout { retry_after_s: u32 },
    /// Refuse for good, 410 `version_retired`.
    Retired,
}

/// What becomes of a request that carries `request_id` at `now_s` (seconds since the Unix epoch).
pub fn decide(plan: &LifecyclePlan, now_s: i64, request_id: &[u8]) -> Decision {
    if plan.sunset_s.is_some_and(|sunset_s| now_s >= sunset_s) {
        return Decision::Retired;
    }
    let begun = plan.brownouts.iter().take_while(|window| window.from_s <= now_s);
    let mut open = begun.filter(|window| now_s < window.until_s).peekable();
    if open.peek().is_some() {
        // Hashed only when a window is open, which is rare.
        let place = fraction(request_id);
        if let Some(until_s) = open.filter(|window| place < window.share).map(|window| window.until_s).max() {
            let wait_s = until_s.saturating_sub(now_s).max(1);
            return Decision::Brownout { retry_after_s: u32::try_from(wait_s).unwrap_or(u32::MAX) };
        }
    }
    Decision::Serve { deprecated: plan.deprecated_s.is_some_and(|deprecated_s| now_s >= deprecated_s) }
}

/// Where a request id stands between 0 (included) and 1 (excluded); see the module.
fn fraction(request_id: &[u8]) -> f64 {
    let hash = request_id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut mixed = hash;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    // 53 bits are what a double holds exactly.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
