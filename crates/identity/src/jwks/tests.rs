//! Sets that can be read and those that cannot; and the state machine, row by row.

mod model;
mod sets;
mod states;

use mainstay_core::clock::MonoMs;
use serde_json::{Value, json};

use super::*;
use crate::jwt::{Algorithm, TokenRefusal};
use crate::refusal::Refusal;
use crate::test_keys::{ED, OTHER, P256, P384, RSA, b64, set};
