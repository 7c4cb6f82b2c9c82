//! A future that whoever waits for it may leave: it is carried to its end all the same, by a task of the session's
//! runtime. As long as somebody waits there is no task, and no thread to be woken for one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;

/// A future, and where it goes on once it is dropped.
pub(super) struct ToItsEnd<T: Send + 'static> {
    runtime: Handle,
    future: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> ToItsEnd<T> {
    pub(super) fn new(runtime: &Handle, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { runtime: runtime.clone(), future: Some(future.boxed()) }
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let output = ready!(future.poll_unpin(cx));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.runtime.spawn(future);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_comes_to_its_end() {
        let ((go, gone), (done, is_done)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut future = ToItsEnd::new(&Handle::current(), async move {
            gone.await.unwrap();
            done.send(()).unwrap();
        });
        assert_eq!((&mut future).now_or_never(), None);
        drop(future);
        go.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn what_somebody_waits_for_is_answered_once() {
        assert_eq!(ToItsEnd::new(&Handle::current(), async { 7 }).await, 7);
    }
}
