//! Blocks that `off` switches off.

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::substitute::is_off;
use super::{Decode, Decoder, Field, State};

/// A block, or `off`: then nothing of it is set, whatever lies beneath.
#[derive(Clone, Debug)]
pub(crate) enum BlockOrOff<T> {
    Off,
    Keys(Box<T>),
}

impl<T: Decode> Decode for BlockOrOff<T> {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<BlockOrOff<T>> {
        if is_off(node, cx)? {
            return Some(BlockOrOff::Off);
        }
        T::decode(node, cx).map(|keys| BlockOrOff::Keys(Box::new(keys)))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let block = T::schema(generator);
        json_schema!({ "anyOf": [block, { "const": "off" }] })
    }

    fn over(&self, under: &BlockOrOff<T>) -> BlockOrOff<T> {
        match (self, under) {
            (BlockOrOff::Keys(mine), BlockOrOff::Keys(other)) => BlockOrOff::Keys(Box::new(mine.over(other))),
            (mine, _) => mine.clone(),
        }
    }
}

impl<T: Clone> Field<BlockOrOff<T>> {
    /// What is written, unless that is `off`.
    pub(crate) fn keys(&self) -> Option<&T> {
        match self.get().map(|given| &given.value) {
            Some(BlockOrOff::Keys(keys)) => Some(keys),
            Some(BlockOrOff::Off) | None => None,
        }
    }

    /// The keys of a block that is on where nobody mentions it.
    pub(crate) fn keys_or(&self, absent: impl FnOnce() -> T) -> Option<T> {
        match &self.state {
            State::Given(given) => match &given.value {
                BlockOrOff::Keys(keys) => Some((**keys).clone()),
                BlockOrOff::Off => None,
            },
            State::Absent | State::Unreadable => Some(absent()),
        }
    }
}
