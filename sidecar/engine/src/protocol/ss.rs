//! Shadowsocks over a stream, both sides: bytes written are encrypted, bytes read are decrypted. An AEAD puts them in
//! chunks, each behind its own sealed length; the legacy cipher has no chunks. What is written first is the target's
//! address (`address`), which a client sends as any other bytes and a server reads.
//! Invariant: bytes that the key's other side has not sent are an error, and none of them is handed on (AEADs).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aws_lc_rs::error::Unspecified;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    ss_cipher::{Cipher, Key, TAG},
    ss_salts::Salts,
};

/// The most bytes in a chunk.
const CHUNK: usize = 0x3fff;
/// Bytes of a sealed length.
const LENGTH: usize = 2 + TAG;

/// A stream whose bytes are encrypted.
pub(crate) struct SsStream<S> {
    inner: S,
    key: Key,
    reader: Reader,
    writer: Writer,
}

struct Reader {
    wants: Wants,
    cipher: Option<Cipher>,
    /// Of a server until its client has proven to have the key, and not to repeat what another one said.
    unproven: Option<Unproven>,
    /// What of the present part has arrived.
    sealed: Vec<u8>,
    /// Decrypted bytes, those before `taken` handed on.
    plain: Vec<u8>,
    taken: usize,
}

/// A stream's salt, and those that it must be none of.
struct Unproven {
    salt: Vec<u8>,
    known: Arc<Salts>,
}

/// Why bytes are not taken.
#[derive(Debug, thiserror::Error)]
enum Distrust {
    #[error("ss: the other side has another password or cipher, or is no ss")]
    Foreign,
    #[error("ss: the client repeats what was said before")]
    Repeated,
}

impl From<Unspecified> for Distrust {
    fn from(_: Unspecified) -> Self {
        Self::Foreign
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Salt,
    Length,
    Payload(usize),
    /// Of the legacy cipher: whatever comes.
    Bytes,
}

#[derive(Default)]
struct Writer {
    cipher: Option<Cipher>,
    /// Encrypted bytes, those before `sent` written.
    sealed: Vec<u8>,
    sent: usize,
}

impl<S> SsStream<S> {
    /// Encrypts what goes over `inner`, each way under a salt of its own.
    pub(crate) fn new(inner: S, key: Key) -> Self {
        let (sealed, plain) = (Vec::new(), Vec::new());
        let reader = Reader { wants: Wants::Salt, cipher: None, unproven: None, sealed, plain, taken: 0 };
        Self { inner, key, reader, writer: Writer::default() }
    }

    /// The same for a server: what was said under a salt of `known` is an error, of AEADs. The legacy cipher proves
    /// nothing, so that anybody could fill `known`.
    pub(crate) fn of_client(inner: S, key: Key, known: Arc<Salts>) -> Self {
        let unproven = key.method().is_aead().then(|| Unproven { salt: Vec::new(), known });
        let mut stream = Self::new(inner, key);
        stream.reader.unproven = unproven;
        stream
    }

    /// What it was made of.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl Reader {
    /// Bytes of the present part that have not arrived.
    fn missing(&self, key: &Key) -> usize {
        let whole = match self.wants {
            Wants::Salt => key.method().salt_length(),
            Wants::Length => LENGTH,
            Wants::Payload(length) => length + TAG,
            Wants::Bytes => CHUNK,
        };
        whole - self.sealed.len()
    }

    /// Takes a part that is whole.
    fn take(&mut self, key: &Key) -> Result<(), Distrust> {
        let mut sealed = std::mem::take(&mut self.sealed);
        self.wants = match (self.wants, &mut self.cipher) {
            (Wants::Salt, cipher) => {
                *cipher = Some(key.cipher(&sealed)?);
                if let Some(unproven) = &mut self.unproven {
                    unproven.salt.clone_from(&sealed);
                }
                if key.method().is_aead() { Wants::Length } else { Wants::Bytes }
            }
            (_, None) => return Err(Distrust::Foreign),
            (Wants::Length, Some(cipher)) => {
                let [high, low] = cipher.open(&mut sealed)? else { return Err(Distrust::Foreign) };
                let length = usize::from(u16::from_be_bytes([*high, *low])) & CHUNK;
                if self.unproven.take().is_some_and(|Unproven { salt, known }| !known.admit(&salt)) {
                    return Err(Distrust::Repeated);
                }
                Wants::Payload(length)
            }
            (Wants::Payload(length), Some(cipher)) => {
                cipher.open(&mut sealed)?;
                sealed.truncate(length);
                (self.plain, self.taken) = (std::mem::take(&mut sealed), 0);
                Wants::Length
            }
            (Wants::Bytes, Some(cipher)) => {
                cipher.open(&mut sealed)?;
                (self.plain, self.taken) = (std::mem::take(&mut sealed), 0);
                Wants::Bytes
            }
        };
        // What was not handed on is used again.
        if sealed.capacity() > 0 {
            sealed.clear();
            self.sealed = sealed;
        }
        Ok(())
    }

    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        inner: &mut S,
        key: &Key,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.taken >= self.plain.len() {
            let (before, missing) = (self.sealed.len(), self.missing(key));
            self.sealed.resize(before + missing, 0);
            let mut room = ReadBuf::new(&mut self.sealed[before..]);
            let polled = Pin::new(&mut *inner).poll_read(cx, &mut room);
            let count = room.filled().len();
            self.sealed.truncate(before + count);
            ready!(polled)?;
            if count == 0 {
                let at_an_end = before == 0 && !matches!(self.wants, Wants::Payload(_));
                return Poll::Ready(if at_an_end { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
            if count == missing || self.wants == Wants::Bytes {
                self.take(key).map_err(|distrust| io::Error::new(io::ErrorKind::InvalidData, distrust))?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Writer {
    /// Encrypts one chunk behind what is still to be sent.
    fn seal(&mut self, key: &Key, plain: &[u8]) -> Result<(), Unspecified> {
        let cipher = match &mut self.cipher {
            Some(cipher) => cipher,
            none => {
                let (salt, cipher) = key.fresh()?;
                self.sealed.extend(salt);
                none.insert(cipher)
            }
        };
        if key.method().is_aead() {
            cipher.seal(&(plain.len() as u16).to_be_bytes(), &mut self.sealed)?;
        }
        cipher.seal(plain, &mut self.sealed)
    }

    fn poll_drain<S: AsyncWrite + Unpin>(&mut self, inner: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sealed.len() {
            let count = ready!(Pin::new(&mut *inner).poll_write(cx, &self.sealed[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.sealed.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, key, reader, .. } = self.get_mut();
        ready!(reader.poll_fill(inner, key, cx))?;
        let plain = &reader.plain[reader.taken..];
        let count = plain.len().min(buffer.remaining());
        buffer.put_slice(&plain[..count]);
        reader.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { inner, key, writer, .. } = self.get_mut();
        ready!(writer.poll_drain(inner, cx))?;
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        if chunk.is_empty() {
            return Poll::Ready(Ok(0));
        }
        writer.seal(key, chunk).map_err(|Unspecified| io::Error::other("ss: encrypting failed"))?;
        // The chunk is taken, whether or not it can be sent at once.
        match writer.poll_drain(inner, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(chunk.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, writer, .. } = self.get_mut();
        ready!(writer.poll_drain(inner, cx))?;
        Pin::new(inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, writer, .. } = self.get_mut();
        ready!(writer.poll_drain(inner, cx))?;
        Pin::new(inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "ss_tests.rs"]
mod tests;
