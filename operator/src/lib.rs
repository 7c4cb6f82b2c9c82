//! The control plane: PortForwards in; ConfigMaps, Deployments, Services, injected sidecars and status out.
//! Decisions are pure (`names`, `settings`, `objects`, `inject`, `authority`, `election`); only `controller` writes to the
//! API server; `proxies` holds the leader's connections to the pods.

pub mod authority;
pub mod budget;
pub mod commands;
pub mod controller;
pub mod election;
pub mod events;
pub mod inject;
pub mod leader;
pub mod names;
pub mod objects;
pub mod proxies;
pub mod queue;
pub mod settings;
pub mod telemetry;
