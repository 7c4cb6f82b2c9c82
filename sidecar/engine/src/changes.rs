//! `Changes`: tells whoever watches the engine that its report says something new.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

/// How often files are looked at without a client.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// A cloneable bell; ringing it never blocks.
#[derive(Debug, Clone)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn notify(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Rings whenever a look, taken again and again, says that something has changed; never returns.
    pub(crate) async fn look(self, look: impl Fn() -> bool) {
        loop {
            sleep(LOOK_PAUSE).await;
            if look() {
                self.notify();
            }
        }
    }

    /// Rings whenever there is something new to be received, as long as there may be.
    pub(crate) async fn follow<T>(self, mut news: watch::Receiver<T>) {
        while news.changed().await.is_ok() {
            self.notify();
        }
    }

    /// A receiver that sees every later change (several close together as one).
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
