//! How the demo's targets are stopped and started: by a key, or by HTTP on a port of its own, since a stopped target
//! answers nobody.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};

use super::target::Target;

/// The demo's targets.
pub(super) struct Targets(Vec<Arc<Target>>);

impl Targets {
    pub(super) fn new(targets: Vec<Arc<Target>>) -> Self {
        Self(targets)
    }

    /// Each target with its name.
    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.0.iter().map(|target| (target.name, target.address)).collect()
    }

    /// Stops or starts the target whose key was pressed; other keys do nothing.
    pub(super) fn key(&self, key: char) {
        let pressed = key.to_digit(10).and_then(|digit| self.0.get((digit as usize).checked_sub(1)?));
        let Some(target) = pressed.cloned() else { return };
        tokio::spawn(async move {
            let wanted = if target.is_running() { "stop" } else { "start" };
            apply(&target, wanted).await;
        });
    }

    fn find(&self, name: &str) -> Option<&Target> {
        self.0.iter().find(|target| target.name == name).map(Arc::as_ref)
    }
}

/// Serves until the runtime ends.
pub(super) fn serve(listener: TcpListener, targets: Arc<Targets>) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = Router::new().route("/", get(list)).route("/{target}/{wanted}", post(change)).with_state(targets);
    tokio::spawn(axum::serve(listener, routes).into_future());
    Ok(())
}

async fn list(State(targets): State<Arc<Targets>>) -> String {
    let state = |target: &Target| if target.is_running() { "running" } else { "stopped" };
    targets
        .0
        .iter()
        .map(|target| format!("target {} on {}: {}\n", target.name, target.address, state(target)))
        .collect()
}

async fn change(
    State(targets): State<Arc<Targets>>,
    Path((name, wanted)): Path<(String, String)>,
) -> (StatusCode, String) {
    match targets.find(&name) {
        Some(target) => apply(target, &wanted).await,
        None => (StatusCode::NOT_FOUND, "no such target; write one or two\n".to_owned()),
    }
}

async fn apply(target: &Target, wanted: &str) -> (StatusCode, String) {
    let name = target.name;
    match wanted {
        "stop" => {
            target.stop().await;
            tracing::info!("demo: target {name} was stopped");
            (StatusCode::OK, format!("target {name} is stopped\n"))
        }
        "start" => match target.resume() {
            Ok(()) => {
                tracing::info!("demo: target {name} was started");
                (StatusCode::OK, format!("target {name} is running\n"))
            }
            Err(error) => {
                tracing::warn!(%error, "demo: target {name} can't be started");
                (StatusCode::CONFLICT, format!("target {name} can't be started: {error}\n"))
            }
        },
        _ => (StatusCode::NOT_FOUND, "write stop or start\n".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn targets() -> Arc<Targets> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Arc::new(Targets::new(vec![Arc::new(Target::start("one", listener).unwrap())]))
    }

    #[tokio::test]
    async fn a_target_is_stopped_and_started_by_name() {
        let targets = targets();
        let change = async |name: &str, wanted: &str| {
            super::change(State(Arc::clone(&targets)), Path((name.to_owned(), wanted.to_owned()))).await.0
        };
        assert_eq!(change("one", "stop").await, StatusCode::OK);
        assert!(!targets.0[0].is_running());
        assert_eq!(change("one", "start").await, StatusCode::OK);
        assert!(targets.0[0].is_running());
        assert_eq!(change("one", "explode").await, StatusCode::NOT_FOUND);
        assert_eq!(change("three", "stop").await, StatusCode::NOT_FOUND);
        assert!(list(State(targets)).await.ends_with("running\n"));
    }

    #[tokio::test]
    async fn a_key_toggles_its_target_and_other_keys_do_nothing() {
        let targets = targets();
        for key in ['x', '0', '9', '\n'] {
            targets.key(key);
        }
        targets.key('1');
        while targets.0[0].is_running() {
            tokio::task::yield_now().await;
        }
    }
}
