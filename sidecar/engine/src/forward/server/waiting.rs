//! One client's datagrams to names whose addresses are being asked for: they wait, in order for each name, and hold up
//! none of the client's others. Called by whoever sends a client's datagrams on. Invariant: a name is asked for once at
//! a time, and whatever waits is within the limits.

use std::{collections::HashMap, future::Future};

use fairlead_config::HostPort;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, pending},
    stream::FuturesUnordered,
};

use crate::stats::Dropped;

/// Destinations that one client has asked for at a time; the server's other places for names are for others.
const QUESTIONS: usize = 8;
/// Datagrams of one client that wait, and bytes of them.
const QUEUE: usize = 64;
const QUEUE_BYTES: usize = 256 << 10;

/// A destination as the client says it, and what it stands for; none: it may not go there.
type Answer<T> = (HostPort, Option<T>);

/// What one client's datagrams wait for.
pub(super) struct Waiting<'a, T> {
    questions: FuturesUnordered<BoxFuture<'a, Answer<T>>>,
    /// What waits for each question.
    datagrams: HashMap<HostPort, Vec<Box<[u8]>>>,
    count: usize,
    bytes: usize,
}

impl<T> Default for Waiting<'_, T> {
    fn default() -> Self {
        Self { questions: FuturesUnordered::new(), datagrams: HashMap::new(), count: 0, bytes: 0 }
    }
}

impl<'a, T: 'a> Waiting<'a, T> {
    /// Where a datagram goes, by this question, if that is known at once; none: it waits. The error says why it is lost.
    pub(super) fn judge(
        &mut self,
        to: &HostPort,
        datagram: &[u8],
        question: impl Future<Output = Option<T>> + Send + 'a,
    ) -> Result<Option<T>, Dropped> {
        let is_full = self.count >= QUEUE || self.bytes + datagram.len() > QUEUE_BYTES;
        if !self.datagrams.contains_key(to) {
            let mut question = question.boxed();
            if let Some(answer) = (&mut question).now_or_never() {
                return answer.map(Some).ok_or(Dropped::NoNode);
            }
            if is_full || self.datagrams.len() >= QUESTIONS {
                return Err(Dropped::QueueFull);
            }
            let to = to.clone();
            self.questions.push(question.map(|answer| (to, answer)).boxed());
        } else if is_full {
            return Err(Dropped::QueueFull);
        }
        self.count += 1;
        self.bytes += datagram.len();
        self.datagrams.entry(to.clone()).or_default().push(datagram.into());
        Ok(None)
    }

    /// What the next answered question is of, once there is one; may be called again if it was given up.
    pub(super) async fn answered(&mut self) -> (Option<T>, Vec<Box<[u8]>>) {
        let Some((to, answer)) = self.questions.next().await else { return pending().await };
        let datagrams = self.datagrams.remove(&to).unwrap_or_default();
        self.count -= datagrams.len();
        self.bytes -= datagrams.iter().map(|datagram| datagram.len()).sum::<usize>();
        (answer, datagrams)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    type Asked = oneshot::Sender<Option<u8>>;

    fn question() -> (Asked, impl Future<Output = Option<u8>> + Send + 'static) {
        let (answer, question) = oneshot::channel();
        (answer, question.map(|answer| answer.ok().flatten()))
    }

    fn name(number: usize) -> HostPort {
        HostPort::new(format!("name-{number}"), 53)
    }

    #[tokio::test]
    async fn what_is_known_at_once_waits_for_nothing() {
        let mut waiting = Waiting::default();
        let (_answer, slow) = question();
        assert_eq!(waiting.judge(&name(0), b"slow", slow), Ok(None));
        assert_eq!(waiting.judge(&name(1), b"fast", async { Some(1) }), Ok(Some(1)));
        assert_eq!(waiting.judge(&name(2), b"forbidden", async { None }), Err(Dropped::NoNode));
        assert!(waiting.answered().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_its_datagrams_keep_their_order() {
        let mut waiting = Waiting::default();
        let ((first, asks_first), (second, asks_second)) = (question(), question());
        assert_eq!(waiting.judge(&name(0), b"a", asks_first), Ok(None));
        assert_eq!(waiting.judge(&name(1), b"b", asks_second), Ok(None));
        assert_eq!(waiting.judge(&name(0), b"c", async { Some(9) }), Ok(None), "behind what waits already");
        second.send(None).unwrap();
        assert_eq!(waiting.answered().await, (None, vec![b"b".as_slice().into()]));
        first.send(Some(1)).unwrap();
        assert_eq!(waiting.answered().await, (Some(1), vec![b"a".as_slice().into(), b"c".as_slice().into()]));
        assert_eq!((waiting.count, waiting.bytes, waiting.datagrams.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_is_over_a_limit_is_dropped_and_what_is_known_still_goes() {
        let full = Err(Dropped::QueueFull);
        let mut waiting = Waiting::<u8>::default();
        for number in 0..QUESTIONS {
            assert_eq!(waiting.judge(&name(number), b"", pending()), Ok(None));
        }
        assert_eq!(waiting.judge(&name(QUESTIONS), b"", pending()), full, "one name more");
        for _ in QUESTIONS..QUEUE {
            assert_eq!(waiting.judge(&name(0), b"", pending()), Ok(None));
        }
        assert_eq!(waiting.judge(&name(0), b"", pending()), full, "one datagram more");
        assert_eq!(waiting.judge(&name(QUESTIONS), b"", async { Some(1) }), Ok(Some(1)));
        let mut waiting = Waiting::<u8>::default();
        assert_eq!(waiting.judge(&name(0), &[0; QUEUE_BYTES], pending()), Ok(None));
        assert_eq!(waiting.judge(&name(0), b"x", pending()), full, "one byte more");
    }
}
