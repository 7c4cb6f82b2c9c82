//! The accept loops on real sockets: limit, hand-over, stop, abort, panics and running out of descriptors.
#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::testing::await_that;

const DEADLINE: Duration = Duration::from_secs(20);
/// Tells the test below that it runs in a process of its own.
const CHILD: &str = "FAIRLEAD_TEST_OUT_OF_DESCRIPTORS";

/// A listener that greets each client with its worker's number and lets it go when it has sent a byte.
struct Greeter {
    workers: Workers,
    control: Arc<ServeControl>,
    addr: SocketAddr,
    greeted: UnboundedReceiver<usize>,
}

impl Greeter {
    fn start(workers: usize, max_connections: usize) -> Self {
        Self::on(Workers::start(workers).unwrap(), max_connections)
    }

    fn on(workers: Workers, max_connections: usize) -> Self {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let control = ServeControl::new(max_connections);
        let (told, greeted) = unbounded_channel();
        let handler = move |accepted: Accepted| {
            let told = told.clone();
            async move {
                told.send(accepted.worker).unwrap();
                accepted.socket.ready(Interest::READABLE).await.unwrap();
            }
        };
        serve(&workers, Arc::new(listener), Arc::clone(&control), handler);
        Self { workers, control, addr, greeted }
    }

    /// Connects a client, which need not be accepted for that.
    fn connect(&self) -> std::net::TcpStream {
        let client = std::net::TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// Returns the worker of the next client that was accepted.
    async fn next(&mut self) -> usize {
        timeout(DEADLINE, self.greeted.recv()).await.unwrap().unwrap()
    }

    async fn await_trouble(&self, wanted: Trouble) {
        let mut trouble = self.control.watch_trouble();
        let reached = trouble.wait_for(|raised| raised.trouble == wanted);
        timeout(DEADLINE, reached).await.unwrap().unwrap();
    }

    async fn await_live(&self, wanted: usize) {
        let reached = async {
            while self.control.live() != wanted {
                yield_now().await;
            }
        };
        timeout(DEADLINE, reached).await.unwrap();
    }
}

#[tokio::test]
async fn at_the_limit_clients_wait_until_one_ends_or_the_limit_rises() {
    let mut greeter = Greeter::start(2, 2);
    let mut clients: Vec<_> = (0..5).map(|_| greeter.connect()).collect();
    greeter.next().await;
    greeter.next().await;
    greeter.await_trouble(Trouble::AtLimit).await;
    greeter.await_live(2).await;
    assert!(greeter.greeted.try_recv().is_err());

    // The kernel hands clients out in order, so the first two are the accepted ones.
    drop(clients.remove(0));
    greeter.next().await;
    greeter.await_live(2).await;

    greeter.control.set_max_connections(10);
    greeter.next().await;
    greeter.next().await;
    greeter.await_trouble(Trouble::None).await;
    greeter.await_live(4).await;
    drop(clients);
    greeter.await_live(0).await;
    let load = greeter.workers.load();
    assert_eq!([load.live(0), load.live(1)], [0, 0]);
}

#[tokio::test]
async fn new_clients_wait_while_an_accepted_one_waits_for_its_upstream() {
    let mut greeter = Greeter::start(2, 1000);
    // So that every worker has looked for clients before there is one that waits.
    drop(greeter.connect());
    greeter.next().await;
    greeter.await_live(0).await;
    let waiting = greeter.control.wait_for_upstream();
    let client = greeter.connect();
    greeter.await_trouble(Trouble::NoUpstream).await;
    assert!(greeter.greeted.try_recv().is_err());
    drop(waiting);
    greeter.next().await;
    greeter.await_trouble(Trouble::None).await;
    drop(client);
    greeter.await_live(0).await;
}

#[tokio::test]
async fn a_loaded_worker_hands_clients_to_one_that_has_much_less_to_do() {
    let mut greeter = Greeter::start(2, 1000);
    (0..1000).for_each(|_| greeter.workers.load().add(0));
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(greeter.connect());
        assert_eq!(greeter.next().await, 1);
    }
    assert_eq!(greeter.workers.load().live(1), 40);
    assert_eq!(greeter.workers.load().live(0), 1000);
    drop(clients);
    greeter.await_live(0).await;
}

#[tokio::test]
async fn every_worker_carries_connections_though_few_accept() {
    let mut greeter = Greeter::start(8, 1000);
    let mut clients = Vec::new();
    for _ in 0..24 {
        clients.push(greeter.connect());
        greeter.next().await;
    }
    let load = greeter.workers.load();
    let carried: Vec<_> = (0..8).map(|worker| load.live(worker)).collect();
    assert!(carried.iter().all(|&count| count > 0), "{carried:?}");
    drop(clients);
    greeter.await_live(0).await;
}

#[tokio::test]
async fn without_descriptors_for_more_clients_wait_until_any_connection_ends() {
    let mut greeter = Greeter::on(Workers::carrying(Load::new(2, 3)).unwrap(), 1000);
    // A connection of another forward.
    greeter.workers.load().add(0);
    let mut clients = Vec::new();
    // One after the other: two workers may take a client each where there is room for one.
    for _ in 0..2 {
        clients.push(greeter.connect());
        greeter.next().await;
    }
    clients.extend([greeter.connect(), greeter.connect()]);
    greeter.await_trouble(Trouble::OutOfDescriptors).await;
    greeter.await_live(2).await;
    assert!(greeter.greeted.try_recv().is_err());

    drop(clients.remove(0));
    greeter.next().await;
    greeter.await_trouble(Trouble::OutOfDescriptors).await;
    greeter.workers.load().remove(0);
    greeter.next().await;
    greeter.await_live(3).await;
    drop(clients);
    greeter.await_live(0).await;
    // Nobody waits any more, as the next look shows.
    let _client = greeter.connect();
    greeter.next().await;
    greeter.await_trouble(Trouble::None).await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only_and_is_logged() {
    crate::testing::logged();
    let workers = Workers::start(1).unwrap();
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    let control = ServeControl::new(10);
    let handler = |accepted: Accepted| async move {
        let (socket, mut word) = (accepted.socket, [0]);
        socket.ready(Interest::READABLE).await.unwrap();
        assert_eq!(socket.stream().read(&mut word).unwrap(), 1);
        assert_ne!(word, *b"!", "the client shouted");
        assert_eq!(socket.stream().write(&word).unwrap(), 1);
    };
    serve(&workers, Arc::new(listener), Arc::clone(&control), handler);
    for (word, answered) in [(b'!', 0), (b'a', 1)] {
        let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
        client.write_u8(word).await.unwrap();
        let answer = timeout(DEADLINE, client.read(&mut [0])).await.unwrap();
        assert_eq!(answer.unwrap_or(0), answered);
    }
    await_that("it is logged", || crate::testing::logged().contains("the client shouted")).await;
    let log = crate::testing::logged();
    let line = log.lines().find(|line| line.contains("the client shouted")).unwrap();
    assert!(line.contains("ERROR"), "{line}");
}

/// A worker may meet the end of the listener before it has heard of the stop.
#[tokio::test]
async fn a_listener_that_is_stopped_is_no_trouble() {
    let greeter = Greeter::start(1, 1);
    let listener = Arc::new(listen(([127, 0, 0, 1], 0).into()).unwrap());
    let control = ServeControl::new(1);
    let mut accept_loop = AcceptLoop {
        index: 0,
        load: Arc::clone(greeter.workers.load()),
        listener: Some(Arc::clone(&listener)),
        watched: None,
        gate: Gate::Open,
        pause: Duration::ZERO,
        senders: Vec::new(),
        inbox: None,
        handler: |_| std::future::ready(()),
        connections: JoinSet::new(),
        guard: control.enter_loop(),
    };
    assert!(!accept_loop.turn());
    control.stop();
    socket2::SockRef::from(&*listener).shutdown(std::net::Shutdown::Read).unwrap();
    timeout(DEADLINE, accept_loop.watched.as_ref().unwrap().client()).await.unwrap();
    assert!(!accept_loop.turn());
    assert_eq!(control.trouble(), Trouble::None);
    assert!(matches!(accept_loop.gate, Gate::Shut));
    assert_eq!(control.live(), 0);
}

#[tokio::test]
async fn clients_that_come_in_a_burst_are_all_carried() {
    let mut greeter = Greeter::start(3, 1000);
    let clients: Vec<_> = (0..200).map(|_| greeter.connect()).collect();
    for _ in 0..200 {
        greeter.next().await;
    }
    greeter.await_live(200).await;
    let load = greeter.workers.load();
    assert_eq!((0..3).map(|worker| load.live(worker)).sum::<usize>(), 200);
    drop(clients);
    greeter.await_live(0).await;
}

#[tokio::test]
async fn stop_frees_the_address_at_once_and_drains_as_the_last_connection_ends() {
    let mut greeter = Greeter::start(2, 1000);
    let mut client = greeter.connect();
    greeter.next().await;
    greeter.control.stop();
    let address_is_free = async {
        while listen(greeter.addr).is_err() {
            yield_now().await;
        }
    };
    timeout(DEADLINE, address_is_free).await.unwrap();
    greeter.await_live(1).await;
    let early = timeout(Duration::ZERO, greeter.control.drained());
    assert!(early.await.is_err());

    client.write_all(b"x").unwrap();
    timeout(DEADLINE, greeter.control.drained()).await.unwrap();
    greeter.await_live(0).await;
}

#[tokio::test]
async fn abort_ends_the_connections() {
    let mut greeter = Greeter::start(2, 1000);
    let mut clients: Vec<_> = (0..10).map(|_| greeter.connect()).collect();
    for _ in 0..10 {
        greeter.next().await;
    }
    greeter.control.stop();
    greeter.control.abort();
    timeout(DEADLINE, greeter.control.drained()).await.unwrap();
    greeter.await_live(0).await;
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    // A stop that comes late does not bring anything back.
    greeter.control.stop();
    timeout(DEADLINE, greeter.control.drained()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_workers_is_the_end_of_the_loops() {
    let mut greeter = Greeter::start(2, 1000);
    let _client = greeter.connect();
    greeter.next().await;
    let control = Arc::clone(&greeter.control);
    drop(greeter);
    timeout(DEADLINE, control.drained()).await.unwrap();
    assert_eq!(control.live(), 0);
}

/// The limit belongs to the process, so this test runs itself again in a process of its own.
#[test]
fn running_out_of_descriptors_is_reported_and_over_when_there_are_some_again() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(run_out_of_descriptors());
    }
    let name = thread_name();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--test-threads=1", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{name} is not a test: {output}");
}

fn thread_name() -> String {
    std::thread::current().name().unwrap().to_owned()
}

async fn run_out_of_descriptors() {
    let mut greeter = Greeter::start(2, 1);
    let first = greeter.connect();
    greeter.next().await;
    let clients: Vec<_> = (0..8).map(|_| greeter.connect()).collect();
    greeter.await_trouble(Trouble::AtLimit).await;

    let before = getrlimit(Resource::Nofile);
    let next = std::fs::File::open("/dev/null").unwrap();
    let used = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&next)).unwrap();
    drop(next);
    let limit = Rlimit { current: Some(used), ..before };
    setrlimit(Resource::Nofile, limit).unwrap();
    greeter.control.set_max_connections(100);
    greeter.await_trouble(Trouble::OutOfDescriptors).await;
    greeter.await_live(1).await;

    setrlimit(Resource::Nofile, before).unwrap();
    for _ in 0..8 {
        greeter.next().await;
    }
    greeter.await_trouble(Trouble::None).await;
    greeter.await_live(9).await;
    drop((first, clients));
    greeter.await_live(0).await;
}
