//! The plain port: /livez, /readyz and /metrics over plain HTTP, for kubelets, Prometheus and people.
//! Reads the engine's snapshots only; nothing here changes anything.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::Context;
use arc_swap::ArcSwapOption;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use fairlead_config::HostPort;
use fairlead_engine::Engine;

use crate::metrics;

/// What the admin port shows.
pub(crate) struct Admin {
    engine: Arc<Engine>,
    /// Why clients must not be sent here; none when they may.
    not_ready: ArcSwapOption<String>,
}

impl Admin {
    pub(crate) fn new(engine: Arc<Engine>) -> Arc<Self> {
        let not_ready = ArcSwapOption::from_pointee("no configuration in force".to_owned());
        Arc::new(Self { engine, not_ready })
    }

    /// Says that clients may be sent here.
    pub(crate) fn set_ready(&self) {
        self.not_ready.store(None);
    }

    /// Says why clients must not be sent here.
    pub(crate) fn set_not_ready(&self, why: String) {
        self.not_ready.store(Some(Arc::new(why)));
    }

    /// Whether clients may be sent here; the error says why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        self.not_ready.load().as_deref().map_or(Ok(()), |why| Err(why.clone()))
    }
}

/// Serves until the runtime ends; returns where it listens.
pub(crate) fn serve(address: &HostPort, admin: Arc<Admin>) -> anyhow::Result<SocketAddr> {
    let listener = listen(address).with_context(|| format!("--metrics-addr: listen on {address}"))?;
    let local = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tracing::info!("metrics on http://{local}/metrics");
    let routes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(scrape));
    tokio::spawn(axum::serve(listener, routes.with_state(admin)).into_future());
    Ok(local)
}

/// An empty host is every address, IPv6 included where the system has it.
pub(crate) fn listen(address: &HostPort) -> std::io::Result<TcpListener> {
    let listener = match address.host.as_str() {
        "" => TcpListener::bind(("::", address.port)).or_else(|_| TcpListener::bind(("0.0.0.0", address.port))),
        host => TcpListener::bind((host, address.port)),
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    match admin.readiness() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    match metrics::text(admin.engine.report(), &admin.engine.stats()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_engine::EngineOptions;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_is_live_at_once_and_ready_when_it_is_said() {
        let admin = Admin::new(Arc::new(Engine::start(&EngineOptions::default()).unwrap()));
        let address = serve(&HostPort::new("127.0.0.1", 0), Arc::clone(&admin)).unwrap();
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        admin.set_not_ready("it rains".to_owned());
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("it rains\n"), "{answer}");
        admin.set_ready();
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = ask(address, "/metrics").await;
        assert!(metrics.contains(metrics::CONTENT_TYPE) && metrics.contains("fairlead_config_revision 0"), "{metrics}");
        assert!(ask(address, "/else").await.starts_with("HTTP/1.1 404"));
    }
}
