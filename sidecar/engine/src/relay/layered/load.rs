//! What was read from one side and is not yet written to the other: chunks as they came, or a buffer of our own.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Bytes read at a time; what one TLS record holds.
const BUFFER: usize = 16 << 10;
/// Chunks written at a time.
const SLICES: usize = 16;

/// What is under way.
#[derive(Default)]
pub(super) struct Load {
    chunks: VecDeque<Bytes>,
    /// Made when it is needed first.
    buffer: Vec<u8>,
    filled: Range<usize>,
}

impl Load {
    /// Reads what is there, once all else is written, and answers how much that is; 0 at the end.
    pub(super) fn poll_fill(&mut self, source: Pin<&mut Stream>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let source = source.get_mut();
        if let Stream::Channel(channel) = source {
            ready!(channel.poll_take(cx, &mut self.chunks))?;
            return Poll::Ready(Ok(self.chunks.iter().map(Bytes::len).sum()));
        }
        self.buffer.resize(BUFFER, 0);
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(source).poll_read(cx, &mut buffer))?;
        self.filled = 0..buffer.filled().len();
        Poll::Ready(Ok(self.filled.len()))
    }

    /// Writes all of it, and tells `written` of the bytes as they go: a slow reader takes a load in many pieces.
    pub(super) fn poll_empty(
        &mut self,
        mut sink: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        written: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        while !self.filled.is_empty() {
            let count = some(ready!(sink.as_mut().poll_write(cx, &self.buffer[self.filled.clone()]))?)?;
            self.filled.start += count;
            written(count);
        }
        while !self.chunks.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.chunks.iter().zip(&mut slices).map(|(chunk, slice)| *slice = IoSlice::new(chunk)).count();
            let count = some(ready!(sink.as_mut().poll_write_vectored(cx, &slices[..used]))?)?;
            self.drop_written(count);
            written(count);
        }
        Poll::Ready(Ok(()))
    }

    fn drop_written(&mut self, mut count: usize) {
        while let Some(first) = self.chunks.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.chunks.pop_front();
        }
    }
}

/// A sink that takes nothing would be asked for ever.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::Waker,
    };

    use futures::FutureExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn a_load_that_is_taken_slowly_is_counted_piece_by_piece() {
        let (sink, mut reader) = tokio::io::duplex(4);
        let mut sink = std::pin::pin!(sink);
        let (chunks, counted) = ([&b"abc"[..], b"defg"].map(Bytes::from_static).into(), AtomicUsize::new(0));
        let mut load = Load { chunks, ..Load::default() };
        let mut empty = || {
            let mut cx = Context::from_waker(Waker::noop());
            let written = |count| {
                counted.fetch_add(count, Relaxed);
            };
            load.poll_empty(sink.as_mut(), &mut cx, written).is_ready()
        };
        assert_eq!((empty(), counted.load(Relaxed)), (false, 4), "what the reader has no room for isn't counted");
        assert_eq!(reader.read_exact(&mut [0; 4]).now_or_never().map(|read| read.is_ok()), Some(true));
        assert_eq!((empty(), counted.load(Relaxed)), (true, 7));
    }

    #[test]
    fn what_is_written_in_part_goes_on_where_it_stopped() {
        for (written, want) in
            [(0, ["abc", "", "defg"].as_slice()), (2, &["c", "", "defg"]), (3, &["defg"]), (5, &["fg"]), (7, &[])]
        {
            let chunks = ["abc", "", "defg"].map(|chunk| Bytes::from_static(chunk.as_bytes())).into();
            let mut load = Load { chunks, ..Load::default() };
            load.drop_written(written);
            assert_eq!(load.chunks, want, "{written}");
        }
    }
}
