//! What has come of a stream of frames: whole frames are taken from its front, and the beginning of the next one waits for
//! its rest. Invariant: there is room for the largest frame, so that a full buffer always holds a whole one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that have come and were not taken.
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    filled: usize,
}

impl Incoming {
    /// With room for so many bytes, at least those of the largest frame.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], filled: 0 }
    }

    /// Reads what is there; false at the stream's end.
    pub(crate) async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        let count = reader.read(&mut self.buffer[self.filled..]).await?;
        self.filled += count;
        Ok(count > 0)
    }

    /// What has come.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Takes bytes from the front.
    pub(crate) fn take(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_taken_stays_in_front_of_what_comes() {
        let (mut incoming, mut reader) = (Incoming::with_room(4), &b"abcdef"[..]);
        assert!(incoming.fill(&mut reader).await.unwrap());
        assert_eq!(incoming.bytes(), b"abcd");
        incoming.take(3);
        assert!(incoming.fill(&mut reader).await.unwrap());
        assert_eq!(incoming.bytes(), b"def");
        incoming.take(3);
        assert!(!incoming.fill(&mut reader).await.unwrap());
        assert_eq!(incoming.bytes(), b"");
    }
}
