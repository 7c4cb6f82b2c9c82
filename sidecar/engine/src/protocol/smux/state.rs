//! What one side of a session knows, and what each frame and each call does to it: pure, without a socket or a clock.
//! The driver feeds `receive` and carries off what `collect` gives; `calls` is what sessions and streams ask.

mod calls;

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

use super::{
    BUFFER_LIMIT, End, Peer, Role, WINDOW,
    frame::{ANNOUNCEMENT, Command, Header, OURS, RETIREMENT, update, updated},
    half::{Half, wake},
};

/// Streams that the peer opened and nobody took yet, at most; further ones are refused.
const BACKLOG_LIMIT: usize = 1_024;
/// Streams at most.
const STREAMS_LIMIT: usize = 65_536;
/// Bytes of frames without data that wait to be sent, before no more is received.
const CONTROL_LIMIT: usize = 64 << 10;
/// Bytes of frames handed out at once, about.
const BATCH: usize = 64 << 10;

pub(super) struct State {
    pub(super) streams: HashMap<u32, Half>,
    /// Frames that go before any data.
    control: Vec<u8>,
    /// Streams with something to send, in turn.
    turns: VecDeque<u32>,
    backlog: VecDeque<u32>,
    acceptor: Option<Waker>,
    next: Option<u32>,
    pub(super) peer: Peer,
    announced: bool,
    /// The stream whose buffer is full: nothing is received until it is read.
    full: Option<u32>,
    /// No further streams; over as soon as the last one is.
    closing: bool,
    /// The other side takes and opens no further streams.
    retired: bool,
    pub(super) end: Option<End>,
}

/// What keeps the session from receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// A stream that nobody reads, and how many bytes of it were read so far.
    Stream(u32, u32),
    /// A peer that does not receive.
    Control,
}

/// What `collect` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Frames,
    Nothing,
    /// All is sent, and nothing will come.
    Done,
}

impl State {
    pub(super) fn new(role: Role) -> Self {
        let mut state = Self {
            streams: HashMap::new(),
            control: Vec::new(),
            turns: VecDeque::new(),
            backlog: VecDeque::new(),
            acceptor: None,
            next: Some(match role {
                Role::Client => 3,
                Role::Server => 2,
            }),
            peer: Peer::Unknown,
            announced: false,
            full: None,
            closing: false,
            retired: false,
            end: None,
        };
        if role == Role::Server {
            state.announce();
        }
        state
    }

    /// Takes one frame.
    pub(super) fn receive(&mut self, header: Header, data: &[u8]) -> Result<(), End> {
        let id = header.stream;
        match header.command {
            Command::Open => return self.opened(id),
            Command::Nothing if id == ANNOUNCEMENT => self.learn_windows(),
            Command::Nothing if id == RETIREMENT => {
                self.retired = true;
                wake(&mut self.acceptor);
            }
            Command::Nothing => {}
            Command::Data => self.data(id, data),
            Command::End => {
                if let Some(half) = self.streams.get_mut(&id) {
                    half.ended = true;
                    half.wake();
                }
            }
            Command::Reset => {
                if let Some(half) = self.streams.get_mut(&id) {
                    half.cut("the other side cut the connection");
                    self.full.take_if(|full| *full == id);
                    if half.dropped {
                        self.streams.remove(&id);
                    }
                }
            }
            Command::Update => {
                self.learn_windows();
                if let (Some(half), Some((taken, window))) = (self.streams.get_mut(&id), updated(data)) {
                    half.update(taken, window);
                    self.take_turn(id);
                }
            }
        }
        Ok(())
    }

    /// Appends the next frames to `out`.
    pub(super) fn collect(&mut self, out: &mut Vec<u8>) -> Output {
        out.append(&mut self.control);
        while out.len() < BATCH {
            let Some(id) = self.turns.pop_front() else { break };
            self.send_of(id, out);
        }
        match (out.is_empty(), self.closing && self.streams.is_empty()) {
            (false, _) => Output::Frames,
            (true, false) => Output::Nothing,
            (true, true) => Output::Done,
        }
    }

    /// Whether frames without data wait to be sent.
    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Why nothing may be received now.
    pub(super) fn hold(&self) -> Option<Hold> {
        let full = self.full.and_then(|id| Some(Hold::Stream(id, self.streams.get(&id)?.consumed)));
        full.or((self.control.len() > CONTROL_LIMIT).then_some(Hold::Control))
    }

    /// Cuts the stream that holds up others; alone, it may take its time.
    pub(super) fn give_up(&mut self, id: u32) {
        if self.streams.len() < 2 {
            return;
        }
        if let Some(half) = self.streams.get_mut(&id) {
            half.ended = false;
            half.cut("nothing was read, and it held up all other connections of its tunnel");
            self.abandon(id);
            self.full = None;
        }
    }

    /// Asks for a sign of life, and gives one.
    pub(super) fn keep_alive(&mut self) {
        if self.control.is_empty() {
            self.control(Command::Nothing, 0);
        }
    }

    /// The peer had its time to say that it knows windows.
    pub(super) fn stop_waiting_for_windows(&mut self) {
        if self.peer == Peer::Unknown {
            self.peer = Peer::Plain;
            self.take_turns();
        }
    }

    /// Ends the session, and tells everyone who waits.
    pub(super) fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.full = None;
        self.streams.values_mut().for_each(Half::wake);
        self.streams.retain(|_, half| !half.dropped);
        wake(&mut self.acceptor);
    }

    fn announce(&mut self) {
        self.announced = true;
        self.control(Command::Nothing, ANNOUNCEMENT);
    }

    /// From now on windows hold, for streams that are open already too.
    fn learn_windows(&mut self) {
        if self.peer == Peer::Windows {
            return;
        }
        self.peer = Peer::Windows;
        if !self.announced {
            self.announce();
        }
        if self.closing {
            self.control(Command::Nothing, RETIREMENT);
        }
        let owing: Vec<u32> = self.streams.iter().filter(|(_, half)| half.owes_update()).map(|(id, _)| *id).collect();
        owing.into_iter().for_each(|id| self.tell_consumed(id));
        self.take_turns();
    }

    fn opened(&mut self, id: u32) -> Result<(), End> {
        let ours = self.next.unwrap_or_default() % 2;
        if id % 2 == ours {
            return Err(End::Protocol(format!("the other side opened stream {id}, which is ours to open")));
        }
        if self.streams.contains_key(&id) {
            return Ok(());
        }
        if self.closing || self.backlog.len() >= BACKLOG_LIMIT || self.streams.len() >= STREAMS_LIMIT {
            self.abandon(id);
            return Ok(());
        }
        self.streams.insert(id, Half::default());
        self.backlog.push_back(id);
        wake(&mut self.acceptor);
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) {
        let Some(half) = self.streams.get_mut(&id).filter(|half| !half.ended && half.cut.is_none()) else { return };
        if half.dropped {
            return;
        }
        half.inbound.extend(data);
        wake(&mut half.reader);
        if half.inbound.len() > BUFFER_LIMIT {
            self.full = Some(id);
        }
    }

    fn after_reading(&mut self, id: u32) {
        let Some(half) = self.streams.get(&id) else { return };
        if half.inbound.len() <= BUFFER_LIMIT {
            self.full.take_if(|full| *full == id);
        }
        if self.peer == Peer::Windows && half.owes_update() {
            self.tell_consumed(id);
        }
    }

    fn tell_consumed(&mut self, id: u32) {
        let Some(half) = self.streams.get_mut(&id) else { return };
        half.told = half.consumed;
        let header = Header { command: Command::Update, length: 8, stream: id };
        self.control.extend(header.bytes());
        self.control.extend(update(half.told, WINDOW));
    }

    /// Tells the peer that a stream is over; one that does not know windows takes the end for that.
    fn abandon(&mut self, id: u32) {
        let command = if self.peer == Peer::Windows { Command::Reset } else { Command::End };
        let told = self.streams.get(&id).is_some_and(|half| half.end_sent);
        if command == Command::Reset || !told {
            self.control(command, id);
        }
        if let Some(half) = self.streams.get_mut(&id) {
            half.end_sent = true;
        }
    }

    fn take_turns(&mut self) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.take_turn(id));
    }

    fn take_turn(&mut self, id: u32) {
        let peer = self.peer;
        if let Some(half) = self.streams.get_mut(&id).filter(|half| !half.queued && half.has_output(peer)) {
            half.queued = true;
            self.turns.push_back(id);
        }
    }

    /// One frame of a stream whose turn it is, and its end if nothing else is left.
    fn send_of(&mut self, id: u32, out: &mut Vec<u8>) {
        let Some(half) = self.streams.get_mut(&id) else { return };
        half.queued = false;
        let count = half.sendable(self.peer).min(OURS);
        if let Some(length) = u16::try_from(count).ok().filter(|length| *length > 0 && half.cut.is_none()) {
            out.extend(Header { command: Command::Data, length, stream: id }.bytes());
            half.send(count, out);
        }
        if half.has_only_its_end() && half.cut.is_none() {
            out.extend(Header::empty(Command::End, id).bytes());
            half.end_sent = true;
            if half.dropped {
                let over = half.ended || self.peer != Peer::Windows;
                self.streams.remove(&id);
                if !over {
                    self.control(Command::Reset, id);
                }
                return;
            }
        }
        self.take_turn(id);
    }

    fn control(&mut self, command: Command, id: u32) {
        self.control.extend(Header::empty(command, id).bytes());
    }
}
