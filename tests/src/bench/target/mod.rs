//! Where traffic ends: targets that run in this process, one thread each, until they are dropped.
mod datagrams;
mod echo;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use datagrams::DatagramEcho;
pub(crate) use echo::Echo;
pub(crate) use source::Source;

/// How long a target's thread sleeps at most before it looks at its orders.
const TURN: Duration = Duration::from_millis(10);

/// A target's thread; dropping it stops the thread and waits for it.
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `work`, which returns soon after the flag it gets is set.
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = std::thread::spawn(move || work(&flag));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already printed; the load generator sees its connections break.
            let _ = thread.join();
        }
    }
}
