//! New connections at a fixed rate, whether earlier ones were answered or not, while targets come and go.
use std::net::SocketAddrV4;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::poller::{EventFlags, Events, Poller};
use crate::bench::socket::{self, Turn};

/// How long an answer is waited for.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(3);

/// One connection: when it was begun and when its echo came, if it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) started: Instant,
    pub(crate) answered: Option<Instant>,
}

impl Attempt {
    /// How long the client waited; [`GIVE_UP`] if no answer came by then.
    fn latency(&self) -> Duration {
        let waited = self.answered.map(|answered| answered - self.started);
        waited.unwrap_or(GIVE_UP).min(GIVE_UP)
    }
}

/// A connection under way, and which attempt it belongs to.
struct UnderWay {
    attempt: usize,
    asked: bool,
}

/// Begins `rate` connections per second for `duration`, and waits for the last answer.
pub(crate) fn run(address: SocketAddrV4, rate: u32, duration: Duration) -> Result<Vec<Attempt>> {
    let begin = Instant::now();
    let total = (duration.as_secs_f64() * f64::from(rate)) as usize;
    let mut attempts: Vec<Attempt> = Vec::with_capacity(total);
    let mut poller = Poller::new()?;
    let mut events = Events::new();
    loop {
        let due = begin + Duration::from_secs(1) * attempts.len() as u32 / rate;
        if attempts.len() < total && due <= Instant::now() {
            dial(&mut poller, address, &mut attempts)?;
            continue;
        }
        let finished = attempts.len() == total && poller.len() == 0;
        if finished || begin.elapsed() > duration + GIVE_UP {
            return Ok(attempts);
        }
        let pause = due.saturating_duration_since(Instant::now());
        let pause = pause.clamp(Duration::from_millis(1), Duration::from_millis(10));
        poller.wait(pause, &mut events)?;
        for token in events.tokens() {
            advance(&mut poller, token, &mut attempts)?;
        }
    }
}

fn dial(poller: &mut Poller<UnderWay>, address: SocketAddrV4, attempts: &mut Vec<Attempt>) -> Result<()> {
    let started = Instant::now();
    let under_way = UnderWay { attempt: attempts.len(), asked: false };
    attempts.push(Attempt { started, answered: None });
    // A forwarder that refuses is one that does not answer.
    if let Ok(fd) = socket::dial(address) {
        poller.insert(fd, EventFlags::OUT, under_way)?;
    }
    Ok(())
}

fn advance(poller: &mut Poller<UnderWay>, token: usize, attempts: &mut [Attempt]) -> Result<()> {
    let Some(connection) = poller.entry(token) else {
        return Ok(());
    };
    let turn = if connection.state.asked {
        socket::receive(&connection.fd, &mut [0; 1])
    } else {
        socket::send(&connection.fd, b"x")
    };
    match turn {
        Turn::WouldBlock => {}
        Turn::Ended => {
            poller.remove(token);
        }
        Turn::Bytes(_) if connection.state.asked => {
            attempts[connection.state.attempt].answered = Some(Instant::now());
            poller.remove(token);
        }
        Turn::Bytes(_) => {
            connection.state.asked = true;
            poller.set_interest(token, EventFlags::IN)?;
        }
    }
    Ok(())
}

/// What became of the attempts begun within a span of time.
#[derive(Debug, PartialEq)]
pub(crate) struct Answered {
    /// The share answered within the limit, 0 to 1.
    pub(crate) share: f64,
    /// The 99th percentile in seconds; unanswered ones count as [`GIVE_UP`].
    pub(crate) p99: f64,
    pub(crate) begun: usize,
}

/// Judges the attempts begun within a span; answers after the limit don't count.
pub(crate) fn judge(attempts: &[Attempt], span: Range<Instant>, limit: Duration) -> Answered {
    let latencies: Vec<Duration> =
        attempts.iter().filter(|attempt| span.contains(&attempt.started)).map(Attempt::latency).collect();
    let answered = latencies.iter().filter(|latency| **latency < GIVE_UP && **latency <= limit).count();
    let mut milliseconds: Vec<u32> = latencies.iter().map(|l| l.as_millis() as u32).collect();
    milliseconds.sort_unstable();
    let p99 = crate::bench::stats::percentile(&milliseconds, 0.99).unwrap_or(0);
    Answered {
        share: answered as f64 / latencies.len().max(1) as f64,
        p99: f64::from(p99) / 1e3,
        begun: latencies.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_begun_within_the_span_count_and_unanswered_ones_are_slow() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let attempt = |started, answered: Option<u64>| Attempt { started: at(started), answered: answered.map(at) };
        let attempts = [
            attempt(0, None),
            attempt(1, Some(1)),
            attempt(2, Some(4)),
            attempt(3, None),
            attempt(4, Some(4)),
            attempt(5, None),
        ];
        let judged = judge(&attempts, at(1)..at(5), Duration::from_secs(1));
        let expected = Answered { share: 0.5, p99: GIVE_UP.as_secs_f64(), begun: 4 };
        assert_eq!(judged, expected);
    }
}
