//! Connections that end with the lease's local time: from a leader's requests to the API server's socket. A request is
//! handed over to the task of a connection, which sends it; a process that stood still in between would send it when it
//! goes on. Invariant: such a task looks at the clock before it does anything.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use hyper::rt::Executor;
use kube::{Client, Config, client::ClientBuilder};
use tokio::{sync::watch, time::Instant};

use super::{Leader, Standing};

impl Leader {
    /// Makes a client for writes: none of them leaves this process later than the last moment at which one may be under
    /// way.
    pub fn client(&self, config: Config) -> kube::Result<Client> {
        let gate = Gate { standing: self.standing.clone() };
        Ok(ClientBuilder::try_from((config, gate))?.build())
    }
}

/// The task of a connection.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the tasks of connections.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) standing: watch::Receiver<Standing>,
}

impl Executor<Connection> for Gate {
    fn execute(&self, task: Connection) {
        let gate = self.clone();
        let mut task = Some(task);
        tokio::spawn(poll_fn(move |context| {
            if !gate.is_open() {
                task = None;
            }
            task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(context))
        }));
    }
}

impl Gate {
    fn is_open(&self) -> bool {
        self.standing.borrow().write_until.is_some_and(|until| Instant::now() < until)
    }
}
