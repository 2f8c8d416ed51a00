//! How much body is taken: refused at once when the client says that it is too long, else counted as it arrives.

use mainstay_core::units::show_size;
use mainstay_core::{Problem, ProblemCode};

use crate::plan::BodyPlan;
use crate::request::Request;

/// Bounds the body.
///
/// # Errors
/// 413 `body_too_large` for a declared length over the limit; nothing of it is read then.
pub fn body(plan: &BodyPlan, request: &mut Request) -> Result<(), Problem> {
    if request.body.declared.is_some_and(|length| length > plan.bytes_max) {
        let detail = format!("The body may have up to {}.", show_size(plan.bytes_max));
        return Err(Problem::new(ProblemCode::BodyTooLarge, detail));
    }
    request.body.limit(plan.bytes_max);
    Ok(())
}
