//! What operator, command line and proxy say to each other: `Config` in, `Report` out, and the GOST URL grammar.
//! Nothing here does I/O; defaults are constants, applied when the engine makes its plan.

mod address;
pub mod admin;
mod config;
pub mod defaults;
mod digest;
pub mod duration;
mod excerpt;
mod hop;
mod key;
mod listener;
mod nearest;
mod ranges;
mod report;
mod scheme;
mod server;
mod strategy;
pub mod url;
pub mod yaml;

pub use address::{AddressError, HostPort, check_host};
pub use config::{
    CONFIG_VERSION, Config, ConfigError, Forward, HealthCheck, REVISION_LIMIT, ReadConfig, Refused, RefusedReason,
};
pub use digest::digest;
pub use hop::{Hop, HopCredentials, HopSocks5, HopSsh, HopTls};
pub use key::ForwardKey;
pub use listener::{is_local_address, is_loopback_address, listeners_overlap};
pub use nearest::nearest;
pub use ranges::{Network, PortRange, RangeError};
pub use report::{ForwardReport, ForwardState, NodeReport, NodeRole, NodeState, REPORT_VERSION, Report};
pub use scheme::*;
pub use server::{ListenTls, Server, ServerUsers};
pub use strategy::{Strategy, UnknownStrategy};
