//! Several candidates against a model API server with compare-and-swap: skewed clocks, requests and responses that are
//! late or lost, processes that stand still. Time is simulated, in microseconds.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MILLI: u64 = 1000;
const SECOND: u64 = 1000 * MILLI;
/// When everything begins to work.
const CALM: u64 = 60 * SECOND;
/// When the leader is told to stop.
const STOP: u64 = CALM + 30 * SECOND;
const END: u64 = STOP + 10 * SECOND;

/// What happens to one request.
#[derive(Debug, Clone)]
struct Fate {
    there: u64,
    back: u64,
    request_lost: bool,
    response_lost: bool,
}

/// One process: how its clocks differ from the true time, and when it stands still.
#[derive(Debug, Clone)]
struct Host {
    start: u64,
    /// Parts per million.
    rate: i64,
    wall_offset: i64,
    /// Begin and length.
    pauses: Vec<(u64, u64)>,
}

#[derive(Debug)]
enum Event {
    Wake,
    Arrive(u64, Request),
    Return(u64, Answer),
    TimeOut(u64),
    Stop,
}

struct World {
    base: Instant,
    hosts: Vec<Host>,
    candidates: Vec<Candidate>,
    asking: Vec<Option<u64>>,
    lease: Option<(Record, u64)>,
    fates: Vec<Fate>,
    requests: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), (usize, Event)>,
    now: u64,
}

impl World {
    fn new(hosts: Vec<Host>, fates: Vec<Fate>) -> Self {
        let base = Instant::now();
        let mut world = Self {
            base,
            asking: vec![None; hosts.len()],
            candidates: Vec::new(),
            hosts,
            lease: None,
            fates,
            requests: 0,
            sequence: 0,
            events: BTreeMap::new(),
            now: 0,
        };
        for host in 0..world.hosts.len() {
            let local = world.local(host);
            world.candidates.push(Candidate::new(Terms::new(format!("host-{host}")), local));
            world.schedule(world.hosts[host].start, host, Event::Wake);
        }
        world
    }

    /// The monotonic clock of a host, now.
    fn local(&self, host: usize) -> Instant {
        let rate = u64::try_from(1_000_000 + self.hosts[host].rate).unwrap();
        self.base + Duration::from_micros(self.now * rate / 1_000_000)
    }

    /// When a host's monotonic clock will show this, rounded up.
    fn truly(&self, host: usize, local: Instant) -> u64 {
        let rate = u128::try_from(1_000_000 + self.hosts[host].rate).unwrap();
        let passed = local.saturating_duration_since(self.base).as_micros();
        u64::try_from((passed * 1_000_000).div_ceil(rate) + 1).unwrap().max(self.now)
    }

    fn wall(&self, host: usize) -> Timestamp {
        let micros = i64::try_from(self.now).unwrap() + self.hosts[host].wall_offset * 1000;
        Timestamp::from_microsecond(1_800_000_000_000_000 + micros).unwrap()
    }

    fn schedule(&mut self, at: u64, host: usize, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), (host, event));
    }

    fn paused_until(&self, host: usize) -> Option<u64> {
        let holds = |(begin, length): &(u64, u64)| {
            let end = (begin + length).min(CALM);
            (*begin..end).contains(&self.now).then_some(end)
        };
        self.hosts[host].pauses.iter().find_map(holds)
    }

    fn permitted(&self) -> Vec<usize> {
        let may_write =
            |host: &usize| self.candidates[*host].write_deadline().is_some_and(|deadline| deadline > self.local(*host));
        (0..self.hosts.len()).filter(may_write).collect()
    }

    fn leader(&self) -> Option<usize> {
        (0..self.hosts.len()).find(|host| self.candidates[*host].is_leading(self.local(*host)))
    }

    /// Runs until the time or until the condition holds; fails when two may write.
    fn run(&mut self, until: u64, done: impl Fn(&Self) -> bool) -> Result<(), TestCaseError> {
        while !done(self) {
            let Some(next) = self.events.first_entry().filter(|entry| entry.key().0 <= until) else {
                self.now = until;
                break;
            };
            self.now = next.key().0;
            let (host, event) = next.remove();
            self.handle(host, event);
            let permitted = self.permitted();
            prop_assert!(permitted.len() < 2, "hosts {permitted:?} may write at {} µs", self.now);
        }
        Ok(())
    }

    fn handle(&mut self, host: usize, event: Event) {
        let at_server = matches!(event, Event::Arrive(..));
        if let Some(end) = self.paused_until(host).filter(|_| !at_server) {
            return self.schedule(end, host, event);
        }
        let local = self.local(host);
        match event {
            Event::Arrive(id, request) => {
                let answer = self.serve(request);
                let fate = self.fate(id);
                if !fate.response_lost {
                    self.schedule(self.now + fate.back, host, Event::Return(id, answer));
                }
            }
            Event::Return(id, answer) if self.asking[host] == Some(id) => self.settle(host, answer),
            Event::TimeOut(id) if self.asking[host] == Some(id) => self.settle(host, Answer::Failed),
            Event::Stop => {
                self.candidates[host].stop(local);
                self.step(host);
            }
            Event::Wake => self.step(host),
            Event::Return(..) | Event::TimeOut(_) => {}
        }
    }

    fn settle(&mut self, host: usize, answer: Answer) {
        self.asking[host] = None;
        let local = self.local(host);
        self.candidates[host].answer(answer, local);
        self.step(host);
    }

    fn step(&mut self, host: usize) {
        if self.asking[host].is_some() {
            return;
        }
        let (local, wall) = (self.local(host), self.wall(host));
        match self.candidates[host].step(local, wall) {
            Action::Ask(request) => {
                self.requests += 1;
                let id = self.requests;
                self.asking[host] = Some(id);
                let fate = self.fate(id);
                if !fate.request_lost {
                    self.schedule(self.now + fate.there, host, Event::Arrive(id, request));
                }
                let limit = local + self.candidates[host].terms.request_timeout();
                self.schedule(self.truly(host, limit), host, Event::TimeOut(id));
            }
            Action::Wait(until) => self.schedule(self.truly(host, until), host, Event::Wake),
            Action::Done => {}
        }
    }

    fn fate(&self, id: u64) -> Fate {
        let calm = Fate { there: 20 * MILLI, back: 20 * MILLI, request_lost: false, response_lost: false };
        let index = usize::try_from(id).unwrap() % (self.fates.len() + 1);
        if self.now >= CALM { calm } else { self.fates.get(index).cloned().unwrap_or(calm) }
    }

    fn serve(&mut self, request: Request) -> Answer {
        let version = self.lease.as_ref().map(|(_, version)| *version);
        let next = version.unwrap_or_default() + 1;
        match request {
            Request::Read => match &self.lease {
                Some((record, version)) => Answer::Found(record.clone(), version.to_string()),
                None => Answer::Absent,
            },
            Request::Create(record) if version.is_none() => self.store(record, next),
            Request::Replace(record, based_on) if version.is_some_and(|v| v.to_string() == based_on) => {
                self.store(record, next)
            }
            Request::Create(_) | Request::Replace(..) => Answer::Conflict,
        }
    }

    fn store(&mut self, record: Record, version: u64) -> Answer {
        self.lease = Some((record, version));
        Answer::Written(version.to_string())
    }
}

/// Mostly prompt, sometimes slower than any deadline.
fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..MILLI, 3 => MILLI..200 * MILLI, 2 => 200 * MILLI..3 * SECOND, 1 => 3 * SECOND..20 * SECOND]
}

fn fate() -> impl Strategy<Value = Fate> {
    let lost = || prop::bool::weighted(0.15);
    (delay(), delay(), lost(), lost()).prop_map(|(there, back, request_lost, response_lost)| Fate {
        there,
        back,
        request_lost,
        response_lost,
    })
}

fn host() -> impl Strategy<Value = Host> {
    let pauses = prop::collection::vec((0..CALM, 0..25 * SECOND), 0..4);
    (0..15 * SECOND, -20_000..20_000_i64, -100_000_000..100_000_000_i64, pauses)
        .prop_map(|(start, rate, wall_offset, pauses)| Host { start, rate, wall_offset, pauses })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two_may_write_and_somebody_leads_again(
        hosts in prop::collection::vec(host(), 2..=3),
        fates in prop::collection::vec(fate(), 1..40),
    ) {
        let mut world = World::new(hosts, fates);
        world.run(CALM, |_| false)?;
        world.run(CALM + 15 * SECOND, |world| world.leader().is_some())?;
        prop_assert!(world.leader().is_some(), "nobody leads 15 s after the faults ended");
        world.run(STOP, |_| false)?;
        let stopped = world.leader();
        prop_assert!(stopped.is_some(), "leadership was lost without a fault");
        world.schedule(STOP, stopped.unwrap_or_default(), Event::Stop);
        world.run(STOP + 2 * SECOND, |world| world.leader().is_some_and(|leader| Some(leader) != stopped))?;
        prop_assert!(world.leader().is_some(), "nobody leads 2 s after the release");
        world.run(END, |_| false)?;
        prop_assert!(world.leader().is_some() && world.leader() != stopped);
    }
}
