//! What a store does within one transaction, for both databases alike.

pub(crate) mod apply;
pub(crate) mod oauth;
pub(crate) mod read;
pub(crate) mod records;
pub(crate) mod upkeep;
