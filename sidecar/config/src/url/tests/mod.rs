//! Tests of the node URL grammar as a whole.
#![allow(clippy::unwrap_used)]

mod accepted;
mod refused;
mod round_trip;
