//! Kernel pipes for splice: big enough to pay off, few enough for the pipe budget of an unprivileged user.
//! Each thread keeps one pipe; `direction` borrows it for one synchronous turn and gives it back empty.
//! A pipe is never held while waiting, and one smaller than 256 KiB is never used: plain copy is cheaper.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

/// The size asked for first, in bytes: the largest an unprivileged process may have by default.
const BEST_SIZE: usize = 1 << 20;
/// The smallest size worth splicing through, in bytes.
const LEAST_SIZE: usize = 256 << 10;
/// How long a thread goes without pipes after the kernel refused one.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Neither side may block the thread.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// A pipe and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    held: usize,
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&write, BEST_SIZE).or_else(|_| fcntl_setpipe_size(&write, LEAST_SIZE))?;
        let size = fcntl_getpipe_size(&write)?;
        if size < LEAST_SIZE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { read, write, size, held: 0 })
    }

    /// Moves at most `limit` bytes from `source` into the pipe; 0 is the source's end.
    pub(crate) fn fill(&mut self, source: impl AsFd, limit: usize) -> io::Result<usize> {
        let limit = limit.min(self.size);
        let moved = retry_on_intr(|| splice(&source, None, &self.write, None, limit, FLAGS))?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what the pipe holds to `sink` until nothing is `held` or the sink is full (`WouldBlock`).
    pub(crate) fn pour(&mut self, sink: impl AsFd) -> io::Result<()> {
        // A signal also makes splice stop midway, and then no wake-up follows: only the kernel's own word is "full".
        while self.held > 0 {
            match splice(&self.read, None, &sink, None, self.held, FLAGS) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(moved) => self.held -= moved,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The bytes in the pipe.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes out what the sink left in the pipe, as plain bytes.
    pub(crate) fn drain(&mut self) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; self.held].into_boxed_slice();
        let mut taken = 0;
        while taken < bytes.len() {
            match retry_on_intr(|| rustix::io::read(&self.read, &mut bytes[taken..]))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => taken += count,
            }
        }
        self.held = 0;
        Ok(bytes)
    }
}

/// One thread's pipe, while nobody uses it, and what the kernel said to the last wish for one.
#[derive(Debug, Default)]
struct PipePool {
    spare: Option<Pipe>,
    refused_until: Option<Instant>,
    #[cfg(test)]
    lent: u64,
}

impl PipePool {
    fn lend(&mut self, now: Instant, open: impl FnOnce() -> io::Result<Pipe>) -> Option<Pipe> {
        if self.refused_until.is_some_and(|until| now < until) {
            return None;
        }
        let pipe = match self.spare.take() {
            Some(pipe) => pipe,
            None => match open() {
                Ok(pipe) => pipe,
                Err(error) => {
                    tracing::debug!(%error, "no pipe to splice through; copying instead");
                    self.refused_until = Some(now + REFUSED_FOR);
                    return None;
                }
            },
        };
        self.refused_until = None;
        #[cfg(test)]
        {
            self.lent += 1;
        }
        Some(pipe)
    }

    fn take_back(&mut self, pipe: Pipe) {
        // What is left in a pipe belongs to a connection that has failed.
        if pipe.held == 0 {
            self.spare = Some(pipe);
        }
    }
}

thread_local! {
    static POOL: RefCell<PipePool> = RefCell::default();
}

/// Runs `turn` with this thread's pipe, or returns `None` when the kernel grants no good one at present.
pub(crate) fn with_pipe<R>(turn: impl FnOnce(&mut Pipe) -> R) -> Option<R> {
    let mut pipe = POOL.with_borrow_mut(|pool| pool.lend(Instant::now(), Pipe::open))?;
    let result = turn(&mut pipe);
    POOL.with_borrow_mut(|pool| pool.take_back(pipe));
    Some(result)
}

/// How often this thread has lent its pipe.
#[cfg(test)]
pub(crate) fn times_lent() -> u64 {
    POOL.with_borrow(|pool| pool.lent)
}

/// Makes this thread go without pipes for `time`.
#[cfg(test)]
pub(crate) fn refuse_for(time: Duration) {
    POOL.with_borrow_mut(|pool| pool.refused_until = Some(Instant::now() + time));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pipe_has_its_real_size_and_gives_back_what_the_sink_left() {
        let mut pipe = Pipe::open().unwrap();
        assert!((LEAST_SIZE..=BEST_SIZE).contains(&pipe.size));
        let (from, mut into) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut into, b"fairlead").unwrap();
        assert_eq!(pipe.fill(&from, 5).unwrap(), 5);
        assert_eq!(&*pipe.drain().unwrap(), b"fairl");
        assert_eq!(pipe.held(), 0);
    }

    #[test]
    fn a_refused_pipe_is_not_asked_for_again_before_its_time() {
        let mut pool = PipePool::default();
        let start = Instant::now();
        let asked = Cell::new(0);
        let refuse = || {
            asked.set(asked.get() + 1);
            Err(io::ErrorKind::PermissionDenied.into())
        };
        assert!(pool.lend(start, refuse).is_none());
        assert!(pool.lend(start + REFUSED_FOR / 2, refuse).is_none());
        assert_eq!(asked.get(), 1);
        assert!(pool.lend(start + REFUSED_FOR, refuse).is_none());
        assert_eq!(asked.get(), 2);
        assert!(pool.lend(start + REFUSED_FOR * 2, Pipe::open).is_some());
    }

    #[test]
    fn a_pipe_that_is_not_empty_is_not_lent_again() {
        let mut pool = PipePool::default();
        let mut pipe = pool.lend(Instant::now(), Pipe::open).unwrap();
        pipe.held = 1;
        pool.take_back(pipe);
        assert!(pool.spare.is_none());
        let pipe = pool.lend(Instant::now(), Pipe::open).unwrap();
        pool.take_back(pipe);
        assert!(pool.spare.is_some());
    }
}
