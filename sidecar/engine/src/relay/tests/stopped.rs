//! A relay whose process is stopped and continued: a signal cuts a splice short without the sink being full.
#![allow(clippy::unwrap_used)]

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use tokio::time::timeout;

use super::*;

/// Tells a test that it is the process to relay for this address.
const RELAY_FOR: &str = "FAIRLEAD_TEST_RELAY_FOR";
/// How long it is disturbed at most: on a machine with much to do, a process does little between two stops.
const STORM: Duration = Duration::from_secs(10);

/// Signals go to a process, so the relay has one of its own.
#[test]
#[expect(clippy::zombie_processes, reason = "waitpid in `disturb` reaps it: `Child::wait` tells nothing of stops")]
fn a_relay_that_is_stopped_and_continued_all_the_time_passes_every_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(addr) = std::env::var_os(RELAY_FOR) {
        return runtime.block_on(relay_for(addr.to_str().unwrap()));
    }
    let (listener, bytes) = (runtime.block_on(listener()), block(4));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", std::thread::current().name().unwrap(), "--test-threads=1"])
        .env(RELAY_FOR, listener.local_addr().unwrap().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let connected = async { (listener.accept().await.unwrap().0, listener.accept().await.unwrap().0) };
    let (client, upstream) = runtime.block_on(async { timeout(DEADLINE, connected).await.unwrap() });
    let pid = Pid::from_child(&child);
    let disturbing = std::thread::spawn(move || disturb(pid));
    // One way only: bytes the other way would wake the relay whatever happens.
    let passing = async { tokio::join!(send_blocks(client, &bytes, 200), expect_blocks(upstream, &bytes, 200)) };
    let passed = runtime.block_on(async { timeout(DEADLINE, passing).await });
    assert_eq!(disturbing.join().unwrap().exit_status(), Some(0));
    passed.unwrap();
}

/// Connects twice, first as the client's side, and relays between the two.
async fn relay_for(addr: &str) {
    let client = Socket::connect(addr.parse().unwrap()).await.unwrap();
    let upstream = Socket::connect(addr.parse().unwrap()).await.unwrap();
    relay(client, upstream, &ByteCounters::default(), None).await.unwrap();
}

/// Stops and continues a child for a while, and waits until it ends, by itself or at the deadline.
fn disturb(pid: Pid) -> WaitStatus {
    let begun = Instant::now();
    while begun.elapsed() < STORM {
        kill_process(pid, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        if !status.stopped() {
            return status;
        }
        kill_process(pid, Signal::CONT).unwrap();
    }
    while begun.elapsed() < DEADLINE {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).unwrap() {
            return status;
        }
        std::thread::yield_now();
    }
    kill_process(pid, Signal::KILL).unwrap();
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1
}
