//! What the operator shows of itself: /metrics, /livez and /readyz over plain HTTP, for Prometheus and kubelets.
//! Reads counters only; nothing here changes anything. Label sets are bounded: no object's name is a label.

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use fairlead_config::HostPort;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use tokio::net::TcpListener;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The main loop is stuck if it didn't tick for so long.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Upper bounds in seconds, of reconciles and of status latencies.
const SECONDS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 45.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileResult {
    /// Everything is as it should be.
    Done,
    /// It couldn't be finished and is tried again after a back-off.
    Failed,
    /// It was left since this process doesn't lead any more.
    NotLeading,
}

/// The operator's metrics and health. Every method is cheap and may be called from any task.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    metrics: Metrics,
    synced: AtomicBool,
    started: Instant,
    /// Milliseconds from `started` to the last tick of the main loop.
    ticked: AtomicU64,
}

#[derive(Debug, Clone)]
struct Metrics {
    reconciles: Family<Labels<1>, Counter>,
    reconcile_seconds: Histogram,
    queue_depth: Gauge,
    api_writes: Family<Labels<2>, Counter>,
    api_write_failures: Family<Labels<2>, Counter>,
    status_writes: Counter,
    status_latency: Histogram,
    events: Counter,
    proxies: Family<Labels<1>, Gauge>,
    leader: Gauge,
    portforwards: Family<Labels<2>, Gauge<i64, AtomicI64>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Zeroes; not ready before [`Self::caches_are_synced`].
    pub fn new() -> Self {
        let metrics = Metrics::new();
        let mut registry = Registry::with_prefix("fairlead_operator");
        metrics.register(&mut registry);
        Self { registry, metrics, synced: AtomicBool::new(false), started: Instant::now(), ticked: AtomicU64::new(0) }
    }

    /// Counts a reconcile and the time it took.
    pub fn reconciled(&self, result: ReconcileResult, took: Duration) {
        let result = match result {
            ReconcileResult::Done => "done",
            ReconcileResult::Failed => "failed",
            ReconcileResult::NotLeading => "not_leading",
        };
        self.metrics.reconciles.get_or_create(&[("result", result)]).inc();
        self.metrics.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Says how many objects wait.
    pub fn queue_depth(&self, depth: usize) {
        self.metrics.queue_depth.set(gauge(depth));
    }

    /// Counts a write to the API server, as in `("deployments", "apply")`, and whether it failed.
    pub fn api_write(&self, resource: &'static str, verb: &'static str, succeeded: bool) {
        let labels = [("resource", resource), ("verb", verb)];
        self.metrics.api_writes.get_or_create(&labels).inc();
        if !succeeded {
            self.metrics.api_write_failures.get_or_create(&labels).inc();
        }
    }

    /// Counts a written status, with the time since the report that caused it, if one did.
    pub fn status_written(&self, since_report: Option<Duration>) {
        self.metrics.status_writes.inc();
        if let Some(latency) = since_report {
            self.metrics.status_latency.observe(latency.as_secs_f64());
        }
    }

    /// Counts Events sent.
    pub fn events_written(&self, count: usize) {
        self.metrics.events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Says how many proxy pods there are, and how many of them report.
    pub fn proxies(&self, known: usize, connected: usize) {
        self.metrics.proxies.get_or_create(&[("state", "known")]).set(gauge(known));
        self.metrics.proxies.get_or_create(&[("state", "connected")]).set(gauge(connected));
    }

    /// Says whether this process leads. What only a leader knows goes when it doesn't.
    pub fn leading(&self, leads: bool) {
        self.metrics.leader.set(i64::from(leads));
        if !leads {
            self.metrics.portforwards.clear();
            self.metrics.proxies.clear();
        }
    }

    /// Says how many PortForwards have which status (`True`, `False`, `Unknown`) of which condition: all at once.
    pub fn portforwards(&self, counts: impl IntoIterator<Item = ((&'static str, &'static str), usize)>) {
        self.metrics.portforwards.clear();
        for ((condition, status), count) in counts {
            let labels = [("condition", condition), ("status", status)];
            self.metrics.portforwards.get_or_create(&labels).set(gauge(count));
        }
    }

    /// Says that the caches hold the whole cluster: from now on the process is ready, leading or not.
    pub fn caches_are_synced(&self) {
        self.synced.store(true, Relaxed);
    }

    /// Says that the main loop goes round. To be called every few seconds.
    pub fn tick(&self) {
        self.ticked_at(Instant::now());
    }

    fn ticked_at(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.started).as_millis();
        self.ticked.store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long ago the main loop ticked, if that is too long.
    fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let ticked = self.started + Duration::from_millis(self.ticked.load(Relaxed));
        Some(now.saturating_duration_since(ticked)).filter(|since| *since >= STUCK_AFTER)
    }
}

impl Metrics {
    fn new() -> Self {
        Self {
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(SECONDS),
            queue_depth: Gauge::default(),
            api_writes: Family::default(),
            api_write_failures: Family::default(),
            status_writes: Counter::default(),
            status_latency: Histogram::new(SECONDS),
            events: Counter::default(),
            proxies: Family::default(),
            leader: Gauge::default(),
            portforwards: Family::default(),
        }
    }

    fn register(&self, to: &mut Registry) {
        let all = self.clone();
        to.register("build", "What runs here", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        to.register("leader", "Whether this process leads (1) or stands by (0)", all.leader);
        to.register("reconciles", "Proxies that were brought up to date, by result", all.reconciles);
        to.register("reconcile_seconds", "Times of reconciles, in seconds", all.reconcile_seconds);
        to.register("queue_depth", "Objects that wait for a reconcile", all.queue_depth);
        to.register("api_writes", "Writes sent to the API server but the Lease's", all.api_writes);
        to.register("api_write_failures", "Those of them that failed", all.api_write_failures);
        to.register("status_writes", "Statuses written", all.status_writes);
        to.register("status_latency_seconds", "Times from a report to the status, in seconds", all.status_latency);
        to.register("events", "Kubernetes Events sent", all.events);
        to.register("proxies", "Proxy pods that are known, and those that report", all.proxies);
        to.register("portforwards", "PortForwards by condition and its status", all.portforwards);
    }
}

/// Serves until the runtime ends; returns where it listens.
pub async fn serve(address: &HostPort, telemetry: Arc<Telemetry>) -> io::Result<SocketAddr> {
    let listener = match address.host.as_str() {
        // A host without IPv6 has only the other half of the wildcard.
        "" => match TcpListener::bind(("::", address.port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("0.0.0.0", address.port)).await?,
        },
        host => TcpListener::bind((host, address.port)).await?,
    };
    let local = listener.local_addr()?;
    let routes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(scrape));
    tokio::spawn(axum::serve(listener, routes.with_state(telemetry)).into_future());
    Ok(local)
}

async fn livez(State(telemetry): State<Arc<Telemetry>>) -> (StatusCode, String) {
    match telemetry.stuck_for(Instant::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(since) => {
            let text = format!("the main loop has not gone round for {} s\n", since.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn readyz(State(telemetry): State<Arc<Telemetry>>) -> (StatusCode, &'static str) {
    if telemetry.synced.load(Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the cluster's objects are being read\n")
    }
}

async fn scrape(State(telemetry): State<Arc<Telemetry>>) -> Response {
    let mut encoded = String::new();
    match text::encode(&mut encoded, &telemetry.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], encoded).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
