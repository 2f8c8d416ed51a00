//! Pure decisions: (plan, state, now, input) -> decision and reason.
