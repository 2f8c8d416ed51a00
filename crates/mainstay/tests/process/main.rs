//! The engine as a process: the real binary, started, asked, signalled and stopped as an operator would, and the documents
//! that tell operators how.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod admin;
mod catalogue;
mod chaos;
mod clients;
mod commands;
mod demo;
mod documents;
mod embedded;
mod examples;
mod floods;
mod handover;
mod lifecycle;
mod lists;
mod nodes;
mod permissions;
mod promtool;
mod reload;
mod run;
mod secure;
mod shutdown;
mod stores;
