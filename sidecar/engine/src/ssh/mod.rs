//! SSH, the client's side: a hop `forward+ssh` through which targets are reached as channels (direct-tcpip).
//!
//! `papers` say who we are (`login`) and whose host keys we trust (`known_hosts`, `trust`); the `pool` keeps `session`s,
//! each with a `handler` for what the server says, and gives a `channel` to each connection. What waits to be read in
//! them is bounded by `traffic`. A port that the server holds for us is `listening`.

mod authenticate;
mod channel;
mod handler;
mod known_hosts;
mod listening;
mod login;
mod papers;
mod pool;
mod session;
mod traffic;
mod trust;

pub(crate) use listening::{ListenFailure, Listening};
pub(crate) use papers::{Drawer, Papers};
pub(crate) use pool::{Pool, Sessions};
pub(crate) use session::Session;
