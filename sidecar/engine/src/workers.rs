//! The threads that carry connections: one single-threaded runtime each, so that a connection never moves.
//! `accept` spawns its loops here and reads the `load` to share out connections; everything shared is atomic.

mod load;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use load::Load;

/// Threads for blocking calls (name resolution) per worker, at most.
const BLOCKING_THREADS: usize = 8;
/// Tasks run between two looks at the sockets while there is always something to run.
const EVENT_INTERVAL: u32 = 31;

/// A fixed set of worker threads; dropping it ends their tasks and waits for the threads.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    load: Arc<Load>,
    /// Where the next listener's watchers begin.
    first_watcher: AtomicUsize,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads, at least one. Errors are the system's (threads, descriptors).
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        Self::carrying(Load::of_process(count.max(1)))
    }

    /// Starts a thread for each of the load's counts.
    pub(crate) fn carrying(load: Load) -> io::Result<Self> {
        let workers = (0..load.workers()).map(Worker::start).collect::<Result<_, _>>()?;
        Ok(Self { workers, load: Arc::new(load), first_watcher: AtomicUsize::new(0) })
    }

    /// Returns the number of threads.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Spawns `future` on worker `index` (modulo their number), from any thread.
    pub(crate) fn spawn<F>(&self, index: usize, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.workers[index % self.workers.len()].handle.spawn(future)
    }

    /// Returns the runtime of each thread.
    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> {
        self.workers.iter().map(|worker| worker.handle.clone())
    }

    /// Returns the worker from which on a listener's watchers are counted: another one each time.
    pub(crate) fn next_watcher(&self) -> usize {
        self.first_watcher.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }

    /// Returns the live connections of each worker, over all forwards.
    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop.take();
        }
        for worker in &mut self.workers {
            worker.join();
        }
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let name = format!("fairlead-worker-{index}");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .name(&name)
            .thread_name(format!("{name}-blocking"))
            .max_blocking_threads(BLOCKING_THREADS)
            .event_interval(EVENT_INTERVAL)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name).spawn(move || run(runtime, stopped))?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The last owner may be a task on this very thread, which cannot wait for itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}

fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    // An error only says that the sender is gone, which is the signal.
    let _ = runtime.block_on(stopped);
    // A blocking call under way (name resolution) must not hold up the end.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::pending;
    use std::sync::mpsc;

    #[test]
    fn each_worker_runs_on_a_thread_of_its_own() {
        let workers = Workers::start(3).unwrap();
        let (names, seen) = mpsc::channel();
        for index in 0..workers.len() {
            let names = names.clone();
            workers.spawn(index, async move {
                let name = thread::current().name().unwrap_or_default().to_owned();
                names.send(name).unwrap();
            });
        }
        let mut seen: Vec<_> = seen.iter().take(3).collect();
        seen.sort();
        let expected: Vec<_> = (0..3).map(|i| format!("fairlead-worker-{i}")).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn dropping_the_workers_drops_their_tasks_and_does_not_hang() {
        let workers = Workers::start(2).unwrap();
        let witness = Arc::new(());
        for index in 0..2 {
            let witness = Arc::clone(&witness);
            workers.spawn(index, async move {
                pending::<()>().await;
                drop(witness);
            });
        }
        drop(workers);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_task_may_own_the_workers_it_runs_on() {
        let workers = Arc::new(Workers::start(1).unwrap());
        let (done, ended) = mpsc::channel();
        let owned = Arc::clone(&workers);
        let (go, gone) = oneshot::channel::<()>();
        workers.spawn(0, async move {
            gone.await.unwrap();
            drop(owned);
            done.send(()).unwrap();
        });
        drop(workers);
        go.send(()).unwrap();
        ended.recv().unwrap();
    }
}
