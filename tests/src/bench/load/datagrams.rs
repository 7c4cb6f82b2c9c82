//! Datagrams of 64 bytes and their echoes: each client keeps so many under way. One that is not answered in time is given up
//! for another, and counts as lost unless its answer comes after all; what was sent inside the window counts, and nothing else.
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Figures, Progress, TURN, Window, measure};
use crate::bench::meter::CpuMeter;
use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// The size of a datagram in bytes.
pub(crate) const SIZE: usize = 64;

/// How long an answer is waited for.
const GIVE_UP: Duration = Duration::from_millis(250);

/// How long a client may take until its first datagram has been answered, and how often it asks meanwhile.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What became of the datagrams.
pub(crate) struct Exchange {
    pub(crate) figures: Figures,
    /// Of those sent inside the window, how many were never answered.
    pub(crate) lost: u64,
    pub(crate) sent: u64,
}

/// Opens so many clients, each proven by one datagram and its echo.
pub(crate) fn open(address: SocketAddrV4, clients: usize) -> Result<Vec<UdpSocket>> {
    (1..=clients).map(|n| open_one(address).with_context(|| format!("client {n} of {clients}"))).collect()
}

fn open_one(address: SocketAddrV4) -> Result<UdpSocket> {
    let client = socket::client(address)?;
    client.set_read_timeout(Some(ASK_AGAIN))?;
    let begin = Instant::now();
    while begin.elapsed() < OPEN_LIMIT {
        let answered = client.send(&[0; 1]).and_then(|_| client.recv(&mut [0; 1]));
        if matches!(answered, Ok(1)) {
            return Ok(client);
        }
    }
    bail!("no answer in {} s", OPEN_LIMIT.as_secs())
}

/// Measures datagrams answered per second, with so many under way from each client.
pub(crate) fn run(clients: &[UdpSocket], under_way: usize, window: Window, meter: &CpuMeter) -> Result<Exchange> {
    let (lost, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let figures = measure(window, meter, 1, |progress| {
        let mut load = Load::new(clients, under_way)?;
        load.run(progress)?;
        lost.store(load.lost, Ordering::Relaxed);
        sent.store(load.sent, Ordering::Relaxed);
        Ok(load.latencies)
    })?;
    let exchange = Exchange { figures, lost: lost.into_inner(), sent: sent.into_inner() };
    ensure!(exchange.sent > 0, "no datagram was sent inside the window");
    Ok(exchange)
}

/// One datagram under way.
#[derive(Clone, Copy)]
struct Slot {
    sequence: u64,
    started: Instant,
    /// Whether it was sent inside the window.
    counts: bool,
    answered: bool,
}

struct Load {
    poller: Poller<Vec<Slot>>,
    tokens: Vec<usize>,
    sequence: u64,
    lost: u64,
    sent: u64,
    latencies: Vec<u32>,
}

impl Load {
    fn new(clients: &[UdpSocket], under_way: usize) -> Result<Self> {
        let mut poller = Poller::new()?;
        let idle = Slot { sequence: 0, started: Instant::now(), counts: false, answered: true };
        let mut tokens = Vec::with_capacity(clients.len());
        for client in clients {
            client.set_nonblocking(true)?;
            tokens.push(poller.insert(client.try_clone()?.into(), EventFlags::IN, vec![idle; under_way])?);
        }
        Ok(Self { poller, tokens, sequence: 0, lost: 0, sent: 0, latencies: Vec::with_capacity(1 << 20) })
    }

    fn run(&mut self, progress: &Progress) -> Result<()> {
        let mut events = Events::new();
        let mut next_sweep = Instant::now();
        while !progress.stopped() {
            if next_sweep <= Instant::now() {
                self.sweep(progress);
                next_sweep = Instant::now() + TURN;
            }
            self.poller.wait(TURN, &mut events)?;
            for token in events.tokens() {
                self.hear(token, Some(progress));
            }
        }
        self.drain(&mut events)
    }

    /// Waits for the answers still to come, and gives up the rest.
    fn drain(&mut self, events: &mut Events) -> Result<()> {
        let end = Instant::now() + GIVE_UP;
        while Instant::now() < end && self.any_under_way() {
            self.poller.wait(TURN, events)?;
            for token in events.tokens() {
                self.hear(token, None);
            }
        }
        self.lost += self.count(|slot| slot.counts && !slot.answered);
        Ok(())
    }

    fn any_under_way(&mut self) -> bool {
        self.count(|slot| !slot.answered) > 0
    }

    fn count(&mut self, which: impl Fn(&Slot) -> bool) -> u64 {
        let mut sum = 0;
        for token in &self.tokens {
            let slots = self.poller.entry(*token).map_or(&[][..], |client| &client.state);
            sum += slots.iter().filter(|slot| which(slot)).count() as u64;
        }
        sum
    }

    /// Fills every slot that is free or was given up.
    fn sweep(&mut self, progress: &Progress) {
        for index in 0..self.tokens.len() {
            let token = self.tokens[index];
            let slots = self.poller.entry(token).map_or(0, |client| client.state.len());
            for slot in 0..slots {
                self.refill(token, slot, progress);
            }
        }
    }

    fn refill(&mut self, token: usize, index: usize, progress: &Progress) {
        let Some(client) = self.poller.entry(token) else { return };
        let slot = client.state[index];
        if !slot.answered && slot.started.elapsed() < GIVE_UP {
            return;
        }
        if !slot.answered && slot.counts {
            self.lost += 1;
        }
        self.sequence += 1;
        let counts = progress.recording();
        client.state[index] = Slot { sequence: self.sequence, started: Instant::now(), counts, answered: false };
        self.sent += u64::from(counts);
        // What the kernel does not take is lost like any other.
        socket::send(&client.fd, &compose(self.sequence, index, counts));
    }

    /// Takes the answers that came to a client and sends another datagram for each.
    fn hear(&mut self, token: usize, progress: Option<&Progress>) {
        let most = self.poller.entry(token).map_or(0, |client| client.state.len());
        for _ in 0..most {
            let mut datagram = [0; SIZE];
            let Some(client) = self.poller.entry(token) else { return };
            if socket::receive(&client.fd, &mut datagram) != Turn::Bytes(SIZE) {
                return;
            }
            let (sequence, index, counts) = read(&datagram);
            let Some(slot) = client.state.get_mut(index) else { continue };
            if slot.sequence == sequence && !slot.answered {
                slot.answered = true;
                if let Some(progress) = progress {
                    progress.record(slot.started, &mut self.latencies);
                    self.refill(token, index, progress);
                }
            } else if slot.sequence != sequence && counts {
                // Late, but there.
                self.lost = self.lost.saturating_sub(1);
            }
        }
    }
}

fn compose(sequence: u64, slot: usize, counts: bool) -> [u8; SIZE] {
    let mut datagram = [0x5a; SIZE];
    datagram[..8].copy_from_slice(&sequence.to_le_bytes());
    datagram[8] = slot as u8;
    datagram[9] = u8::from(counts);
    datagram
}

fn read(datagram: &[u8; SIZE]) -> (u64, usize, bool) {
    let sequence = datagram.iter().take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (sequence, datagram[8].into(), datagram[9] == 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Long enough for a client to give up, and to send anew inside the window.
    const WINDOW: Window = Window { warm_up: Duration::from_millis(20), measure: Duration::from_millis(600) };

    #[test]
    fn an_answer_that_never_comes_is_lost() {
        let (target, address) = socket::bind_datagrams().unwrap();
        target.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let stop = AtomicBool::new(false);
        let exchange = std::thread::scope(|scope| {
            // It answers one byte, so that a client opens, and every other datagram.
            scope.spawn(|| {
                let mut buffer = [0; SIZE];
                for turn in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Ok((count, client)) = target.recv_from(&mut buffer)
                        && (count == 1 || turn % 2 == 0)
                    {
                        target.send_to(&buffer[..count], client).unwrap();
                    }
                }
            });
            let clients = open(address, 1).unwrap();
            let exchange = run(&clients, 4, WINDOW, &CpuMeter::Direct);
            stop.store(true, Ordering::Relaxed);
            exchange.unwrap()
        });
        assert!(exchange.lost > 0 && exchange.lost < exchange.sent, "{} of {}", exchange.lost, exchange.sent);
    }

    #[test]
    fn what_is_composed_is_read_again() {
        assert_eq!(read(&compose(0x0102_0304_0506_0708, 63, true)), (0x0102_0304_0506_0708, 63, true));
    }
}
