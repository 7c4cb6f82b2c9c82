//! A small web server that says its name, and that can be stopped as if it had died: its port then refuses.
//! Invariant: the port stays ours all the time, so that it can be started again.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{Router, http::header, response::IntoResponse};
use tokio::{net::TcpSocket, task::JoinHandle};

/// Clients that may wait to be accepted.
const BACKLOG: u32 = 128;

/// One of the demo's targets.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    answers: Arc<AtomicU64>,
    state: Mutex<State>,
}

enum State {
    Running(JoinHandle<()>),
    /// With a socket that has the port and doesn't listen: clients are refused, and nobody else is given the port.
    Stopped(Option<TcpSocket>),
}

impl Target {
    /// Starts to serve on a listener.
    pub(super) fn start(name: &'static str, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let answers = Arc::default();
        let state = Mutex::new(serve(tokio::net::TcpListener::from_std(listener)?, name, &answers));
        Ok(Self { name, address, answers, state })
    }

    /// Serves again; nothing to do when it does.
    pub(super) fn resume(&self) -> io::Result<()> {
        let mut state = self.state();
        if let State::Stopped(socket) = &mut *state {
            let socket = socket.take().map_or_else(|| bound(self.address), Ok)?;
            *state = serve(socket.listen(BACKLOG)?, self.name, &self.answers);
        }
        Ok(())
    }

    /// Refuses clients from now on.
    pub(super) async fn stop(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Stopped(None));
        match before {
            State::Running(server) => {
                server.abort();
                // An error says that it was aborted.
                let _ = server.await;
                if let State::Stopped(socket @ None) = &mut *self.state() {
                    *socket = bound(self.address).ok();
                }
            }
            stopped @ State::Stopped(_) => *self.state() = stopped,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(*self.state(), State::Running(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(listener: tokio::net::TcpListener, name: &'static str, answers: &Arc<AtomicU64>) -> State {
    let answers = Arc::clone(answers);
    let answer = move || {
        let number = answers.fetch_add(1, Relaxed) + 1;
        // A connection kept open would outlive the server.
        async move { ([(header::CONNECTION, "close")], format!("target {name}, answer {number}\n")).into_response() }
    };
    State::Running(tokio::spawn(async move {
        let _ = axum::serve(listener, Router::new().fallback(answer)).await;
    }))
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that ended a moment ago still have the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::ErrorKind, net::Ipv4Addr};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_stopped_target_refuses_and_a_resumed_one_answers_again() {
        let target = Target::start("one", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        assert!(ask(target.address).await.unwrap().ends_with("target one, answer 1\n"));
        target.stop().await;
        assert_eq!(ask(target.address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        target.resume().unwrap();
        target.resume().unwrap();
        assert!(ask(target.address).await.unwrap().ends_with("target one, answer 2\n"));
    }
}
