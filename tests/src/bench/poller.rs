//! One epoll set together with the sockets in it: targets and load generators run on it, a thread each.
//! A socket is known by its descriptor's number and leaves the set when it is removed.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
pub(crate) use rustix::event::epoll::EventFlags;
use rustix::event::epoll::{self, CreateFlags, EventData};

/// What is reported at most per turn.
const EVENTS_PER_TURN: usize = 256;

/// A socket and what its owner knows about it.
pub(crate) struct Entry<T> {
    pub(crate) fd: OwnedFd,
    pub(crate) state: T,
}

/// What one turn reported; a thread keeps one and uses it again.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    /// Room for one turn.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_PER_TURN))
    }

    /// The tokens of the sockets that are ready.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|event| event.data.u64() as usize)
    }
}

/// An epoll set (level-triggered) that owns its sockets.
pub(crate) struct Poller<T> {
    epoll: OwnedFd,
    entries: Vec<Option<Entry<T>>>,
    count: usize,
}

impl<T> Poller<T> {
    /// Creates an empty set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, entries: Vec::new(), count: 0 })
    }

    /// Takes a socket in and answers its token.
    pub(crate) fn insert(&mut self, fd: OwnedFd, interest: EventFlags, state: T) -> io::Result<usize> {
        let token = fd.as_raw_fd() as usize;
        epoll::add(&self.epoll, &fd, EventData::new_u64(token as u64), interest)?;
        if self.entries.len() <= token {
            self.entries.resize_with(token + 1, || None);
        }
        if self.entries[token].replace(Entry { fd, state }).is_none() {
            self.count += 1;
        }
        Ok(token)
    }

    /// Changes what a socket is waited for.
    pub(crate) fn set_interest(&self, token: usize, interest: EventFlags) -> io::Result<()> {
        let Some(entry) = self.entries.get(token).and_then(Option::as_ref) else {
            return Ok(());
        };
        let data = EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, &entry.fd, data, interest)?)
    }

    /// The socket with this token; none if an earlier event of the same turn removed it.
    pub(crate) fn entry(&mut self, token: usize) -> Option<&mut Entry<T>> {
        self.entries.get_mut(token)?.as_mut()
    }

    /// Takes a socket out; dropping the answer closes it.
    pub(crate) fn remove(&mut self, token: usize) -> Option<Entry<T>> {
        let entry = self.entries.get_mut(token)?.take()?;
        self.count -= 1;
        Some(entry)
    }

    /// How many sockets are in the set.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Waits until something is ready, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration, events: &mut Events) -> io::Result<()> {
        events.0.clear();
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let room = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
