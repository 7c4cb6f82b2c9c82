//! What holds where nothing was said, and the limits. Applied only when a `Config` becomes a plan.

use std::time::Duration;

use crate::PortRange;

/// Consecutive failures after which a node is dead (seed: `max_fails`).
pub const MAX_FAILS: u32 = 1;
/// How long a dead node is left out (seed: `fail_timeout`).
pub const FAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle life of a UDP channel (seed: `ttl`).
pub const TTL: Duration = Duration::from_secs(60);
/// How long one dial may take, name resolution included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a silent node is waited for before the next one is dialled too; zero means never.
pub const HEDGE_DELAY: Duration = Duration::from_millis(200);
/// Connections one forward serves at a time; more wait in the kernel's accept queue.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// Associations one UDP forward keeps at a time; the idlest leaves first.
pub const ASSOCIATIONS: u32 = 65_536;
/// How long one health check's dial may take where only the interval was given.
pub const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// The shortest time between two health checks of a node.
pub const HEALTH_CHECK_INTERVAL_LEAST: Duration = Duration::from_millis(100);
/// How long connections of a removed forward may go on.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server waits for a client to say what it wants, login and encryption included.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Ports that clients of a server may listen on.
pub const ALLOW_BIND: PortRange = PortRange::new(1024, u16::MAX);

/// Time between two signs of life asked of an SSH server; without three of them it is given up.
pub const SSH_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The largest `maxFails`.
pub const MAX_FAILS_LIMIT: u32 = 1_000;
/// The largest `maxConnections`.
pub const MAX_CONNECTIONS_LIMIT: u32 = 1_000_000;
/// Targets one forward may have.
pub const TARGETS_LIMIT: usize = 64;
/// Nodes one hop may have.
pub const HOP_NODES_LIMIT: usize = 16;
/// Hops one chain may have.
pub const CHAIN_LIMIT: usize = 8;
/// Networks, and ranges of ports, that one server may list.
pub const ALLOW_LIMIT: usize = 64;
/// Forwards one proxy may run.
pub const FORWARDS_LIMIT: usize = 500;
/// Size of one proxy's configuration document in bytes (a ConfigMap holds 1 MiB).
pub const CONFIG_BYTES_LIMIT: usize = 900 * 1024;
/// The proxy's own ports: administration and metrics.
pub const RESERVED_PORTS: [u16; 2] = [19443, 19444];
