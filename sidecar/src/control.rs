//! The admin port, for the operator: TLS whose client must show a certificate of the operator's authority, then
//! `PUT /config` and `GET /report`. From `trust` (who may come in) over HTTP/1.1 to `routes`.
//!
//! The port is open to every pod of a cluster, so whatever happens before a certificate was verified is limited, and
//! never disturbs connections that are verified already.

mod fit;
mod reports;
mod routes;
mod served;
mod trust;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use fairlead_config::{HostPort, admin as limits};
use fairlead_engine::Engine;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::{served::Served, trust::Trust};
use crate::{admin, intake::Intake};

/// Handshakes under way; a client that comes on top of them is turned away.
const HANDSHAKES_LIMIT: usize = 32;
/// How many bytes of a request's head, and of a body's chunk, are held.
const BUFFER_LIMIT: usize = 64 << 10;
/// A peer that acknowledges nothing for so long is gone.
const UNACKNOWLEDGED_LIMIT: Duration = limits::SILENCE_LIMIT;
/// The least time between two log lines about clients that were turned away.
const REFUSALS_GAP: Duration = Duration::from_secs(10);

/// What the admin port works with.
#[derive(Clone)]
struct Port {
    trust: Arc<Trust>,
    routes: Router,
    served: Arc<Served>,
    handshakes: Arc<Semaphore>,
    refusals: Arc<Mutex<Refusals>>,
}

/// Clients that were turned away since the last log line about it.
#[derive(Debug, Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

/// Serves until the runtime ends; returns where it listens. `authority` is a file that is followed.
pub(crate) fn serve(
    address: &HostPort,
    authority: PathBuf,
    intake: Arc<Intake>,
    engine: Arc<Engine>,
) -> anyhow::Result<SocketAddr> {
    let listener = admin::listen(address).with_context(|| format!("--admin-addr: listen on {address}"))?;
    let local = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let trust = Arc::new(Trust::new(authority).context("--admin-addr: make a certificate")?);
    tracing::info!("administration on https://{local}");
    tokio::spawn(Arc::clone(&trust).follow());
    let port = Port {
        trust,
        routes: routes::router(intake, engine),
        served: Arc::default(),
        handshakes: Arc::new(Semaphore::new(HANDSHAKES_LIMIT)),
        refusals: Arc::default(),
    };
    tokio::spawn(port.accept(listener));
    Ok(local)
}

impl Port {
    async fn accept(self, listener: TcpListener) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: others will be closed.
                    self.refuse(&format!("accept: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
                self.refuse(&format!("{}: too many handshakes at once", peer.ip()));
                continue;
            };
            let port = self.clone();
            tokio::spawn(async move {
                let shaken = port.shake_hands(stream).await;
                drop(permit);
                match shaken {
                    Ok(stream) => port.converse(stream, peer).await,
                    Err(problem) => port.refuse(&format!("{}: {problem}", peer.ip())),
                }
            });
        }
    }

    /// Finds out whether the client has a certificate that is trusted now.
    async fn shake_hands(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let acceptor = TlsAcceptor::from(self.trust.present()?);
        // What fails here fails again, and is told, in the handshake.
        let _ = stream.set_nodelay(true);
        let millis = u32::try_from(UNACKNOWLEDGED_LIMIT.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis);
        match timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("TLS handshake: {error}")),
            Err(_) => Err(format!("TLS handshake not done after {:?}", limits::HANDSHAKE_TIMEOUT)),
        }
    }

    async fn converse(&self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        tracing::debug!(%peer, "an operator connected");
        let place = self.served.enter();
        let service = TowerToHyperService::new(self.routes.clone());
        let mut http = http1::Builder::new();
        // The time limit for a request's head runs between requests too.
        http.timer(TokioTimer::new()).header_read_timeout(limits::IDLE_LIMIT).max_buf_size(BUFFER_LIMIT);
        tokio::select! {
            ended = http.serve_connection(TokioIo::new(stream), service) => match ended {
                Ok(()) => tracing::debug!(%peer, "an operator left"),
                Err(error) => tracing::debug!(%peer, %error, "an operator's connection broke"),
            },
            () = place.lost() => tracing::debug!(%peer, "gave an operator's connection up for a newer one"),
        }
    }

    /// Tells that a client was turned away, but not each one's story.
    fn refuse(&self, problem: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = refusals.count(Instant::now()) {
            let others =
                if untold > 1 { format!(" (and {} others since the last line)", untold - 1) } else { String::new() };
            tracing::warn!("refused a client of the admin port: {problem}{others}");
        }
    }
}

impl Refusals {
    /// Counts one; answers how many a log line is to be written about now.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now < told + REFUSALS_GAP) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}
