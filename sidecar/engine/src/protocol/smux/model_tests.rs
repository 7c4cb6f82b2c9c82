//! Two sides against a model of what streams promise, over any schedule of calls and any cut of their bytes; and bytes
//! that no side would send.

#![allow(clippy::unwrap_used)]
use std::{
    collections::BTreeMap,
    task::{Poll, Waker},
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::{BUFFER_LIMIT, Peer, Role, WINDOW, frame::Header, state::State};

#[derive(Debug, Clone)]
enum Step {
    Open(bool),
    /// Of which side, which of its streams, how many bytes.
    Write(bool, usize, usize),
    Read(bool, usize, usize),
    Shut(bool, usize),
    Leave(bool, usize),
    /// So many bytes from a side to the other.
    Carry(bool, usize),
    /// The peer had its time to say that it knows windows.
    Time,
}

/// What a stream promises one side's reader.
#[derive(Debug, Default)]
struct Way {
    written: u64,
    read: u64,
    shut: bool,
    /// Either side has left it: anything may be missing.
    left: bool,
}

struct Side {
    state: State,
    wire: Vec<u8>,
    received: Vec<u8>,
    held: Vec<u32>,
}

struct World {
    sides: [Side; 2],
    /// By stream and by the side that writes.
    ways: BTreeMap<(u32, usize), Way>,
    old: bool,
    /// A side has stopped to wait for windows before both knew of each other: an end of one way may be that of both.
    plain: bool,
}

fn byte(stream: u32, index: u64) -> u8 {
    (index.wrapping_mul(31) ^ u64::from(stream)).to_le_bytes()[0]
}

impl World {
    /// With `old`, one side is a program that knows no windows.
    fn new(old: bool) -> Self {
        let side = |role| Side { state: State::new(role), wire: Vec::new(), received: Vec::new(), held: Vec::new() };
        Self { sides: [side(Role::Client), side(Role::Server)], ways: BTreeMap::new(), old, plain: old }
    }

    fn stream(&self, side: usize, index: usize) -> Option<u32> {
        let held = &self.sides[side].held;
        (!held.is_empty()).then(|| held[index % held.len()])
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Open(side) => {
                let id = self.sides[usize::from(side)].state.open().unwrap();
                self.sides[usize::from(side)].held.push(id);
                for writer in 0..2 {
                    self.ways.insert((id, writer), Way::default());
                }
            }
            Step::Write(side, index, count) => self.write(side.into(), index, count),
            Step::Read(side, index, count) => {
                self.read(side.into(), index, count);
            }
            Step::Shut(side, index) => {
                if let Some(id) = self.stream(side.into(), index) {
                    self.sides[usize::from(side)].state.shut(id);
                    self.ways.get_mut(&(id, side.into())).unwrap().shut = true;
                }
            }
            Step::Leave(side, index) => {
                if let Some(id) = self.stream(side.into(), index) {
                    self.sides[usize::from(side)].held.retain(|held| *held != id);
                    self.sides[usize::from(side)].state.leave(id);
                    let shut = self.ways[&(id, side.into())].shut;
                    self.ways.get_mut(&(id, 1 - usize::from(side))).unwrap().left = true;
                    self.ways.get_mut(&(id, side.into())).unwrap().left |= !shut;
                }
            }
            Step::Carry(side, count) => self.carry(side.into(), count),
            Step::Time => {
                self.plain |= self.sides.iter().any(|side| side.state.peer != Peer::Windows);
                self.sides.iter_mut().for_each(|side| side.state.stop_waiting_for_windows());
            }
        }
    }

    fn write(&mut self, side: usize, index: usize, count: usize) {
        let Some(id) = self.stream(side, index) else { return };
        let way = self.ways.get_mut(&(id, side)).unwrap();
        let bytes: Vec<u8> = (0..count as u64).map(|offset| byte(id, way.written + offset)).collect();
        match self.sides[side].state.write(id, &bytes, Waker::noop()) {
            Poll::Ready(Ok(count)) => {
                assert!(!way.shut, "nothing is written behind the end");
                way.written += count as u64;
            }
            Poll::Ready(Err(_)) => assert!(way.shut || way.left || self.plain, "{id}"),
            Poll::Pending => {}
        }
    }

    /// Returns whether the way is over or something was read.
    fn read(&mut self, side: usize, index: usize, count: usize) -> bool {
        let Some(id) = self.stream(side, index) else { return false };
        let way = self.ways.get_mut(&(id, 1 - side)).unwrap();
        let mut memory = vec![0; count.max(1)];
        let mut buffer = ReadBuf::new(&mut memory);
        match self.sides[side].state.read(id, &mut buffer, Waker::noop()) {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => {
                assert!(way.left, "stream {id} was cut, and nobody left it");
                true
            }
            Poll::Ready(Ok(())) => {
                for found in buffer.filled() {
                    assert_eq!(*found, byte(id, way.read), "stream {id} at {}", way.read);
                    way.read += 1;
                }
                assert!(way.read <= way.written);
                if buffer.filled().is_empty() {
                    assert!(way.left || (way.shut && way.read == way.written), "stream {id} ended early");
                }
                true
            }
        }
    }

    fn carry(&mut self, from: usize, count: usize) {
        let mut out = Vec::new();
        self.sides[from].state.collect(&mut out);
        self.sides[from].wire.append(&mut out);
        let count = count.min(self.sides[from].wire.len());
        let moved: Vec<u8> = self.sides[from].wire.drain(..count).collect();
        let old = self.old;
        let to = &mut self.sides[1 - from];
        to.received.extend(moved);
        while to.state.hold().is_none() {
            let Some((header, data)) = Header::parse(&to.received).unwrap() else { break };
            let (used, data) = (8 + data.len(), data.to_vec());
            to.received.drain(..used);
            let secret = header.stream == super::frame::ANNOUNCEMENT;
            if !(old && secret) {
                to.state.receive(header, &data).unwrap();
            }
        }
        if !old && to.state.peer == Peer::Windows {
            assert!(to.state.hold().is_none(), "a window was not kept");
        }
        assert!(to.state.streams.values().all(|half| half.inbound.len() <= BUFFER_LIMIT + (64 << 10)));
    }

    fn read_so_far(&self) -> u64 {
        self.ways.values().map(|way| way.read).sum()
    }

    /// Everything arrives that was promised, once all is carried and read.
    fn settle(&mut self) {
        self.take(&Step::Time);
        let mut idle = 0;
        while idle < 4 {
            let before = self.read_so_far();
            self.carry(0, usize::MAX);
            self.carry(1, usize::MAX);
            accept_all(self);
            for side in 0..2 {
                for index in 0..self.sides[side].held.len() {
                    self.read(side, index, 1 << 20);
                }
            }
            let rests = self.sides.iter().all(|side| side.wire.is_empty() && side.received.is_empty());
            idle = if rests && before == self.read_so_far() { idle + 1 } else { 0 };
        }
        for ((id, writer), way) in &self.ways {
            if !way.left {
                assert_eq!(way.read, way.written, "stream {id} from side {writer}");
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (side, index) = (any::<bool>(), 0_usize..4);
    let large = prop_oneof![1_usize..100, 1_usize..(WINDOW as usize)];
    prop_oneof![
        2 => side.prop_map(Step::Open),
        6 => (side, index.clone(), large.clone()).prop_map(|(side, index, count)| Step::Write(side, index, count)),
        4 => (side, index.clone(), large.clone()).prop_map(|(side, index, count)| Step::Read(side, index, count)),
        1 => (side, index.clone()).prop_map(|(side, index)| Step::Shut(side, index)),
        1 => (side, index).prop_map(|(side, index)| Step::Leave(side, index)),
        8 => (side, large).prop_map(|(side, count)| Step::Carry(side, count)),
        1 => Just(Step::Time),
    ]
}

/// Lets a side take the streams that the other opened.
fn accept_all(world: &mut World) {
    for side in 0..2 {
        while let Poll::Ready(Some(id)) = world.sides[side].state.accept(Waker::noop()) {
            world.sides[side].held.push(id);
        }
    }
}

fn run(steps: &[Step], old: bool) {
    let mut world = World::new(old);
    for step in steps {
        world.take(step);
        accept_all(&mut world);
    }
    world.settle();
}

#[test]
fn a_side_that_learns_of_windows_too_late_ends_both_ways() {
    let steps = [Step::Open(false), Step::Shut(false, 0), Step::Carry(false, 16), Step::Time, Step::Write(true, 0, 1)];
    run(&steps, false);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn streams_between_ours_keep_every_byte_in_order_and_every_window(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps, false);
    }

    #[test]
    fn streams_with_others_keep_every_byte_in_order(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps, true);
    }
}

/// Frames that a side would not send: more often whole than bytes by chance are.
#[test]
fn no_frames_break_a_session() {
    let check = bolero::check!(name = "smux_frames").with_test_time(crate::testing::fuzz_time());
    check.for_each(|bytes: &[u8]| {
        let mut state = State::new(Role::Server);
        let mut frames = Vec::new();
        for piece in bytes.chunks(3) {
            let (command, id, length) = (piece[0] % 6, piece.get(1).map_or(0, |id| id % 8), piece.get(2).copied());
            let length = if command == 4 { 8 } else { u16::from(length.unwrap_or(0)) * u16::from(command == 2) };
            frames.extend([1, command]);
            frames.extend(length.to_le_bytes());
            frames.extend(if id == 7 { super::frame::ANNOUNCEMENT } else { u32::from(id) }.to_le_bytes());
            frames.resize(frames.len() + usize::from(length), piece[0]);
        }
        feed(&mut state, &frames);
        feed(&mut State::new(Role::Client), bytes);
    });
}

fn feed(state: &mut State, mut bytes: &[u8]) {
    let mut out = Vec::new();
    while let Ok(Some((header, data))) = Header::parse(bytes) {
        if state.receive(header, data).is_err() {
            break;
        }
        bytes = &bytes[8 + data.len()..];
        if let Poll::Ready(Some(id)) = state.accept(Waker::noop()) {
            let _ = state.write(id, b"x", Waker::noop());
        }
        state.collect(&mut out);
    }
    let mut sent = &out[..];
    while let Some((_, data)) = Header::parse(sent).unwrap() {
        sent = &sent[8 + data.len()..];
    }
    assert!(sent.is_empty(), "a whole number of frames");
}
