//! Which proxies have news, from the pods' tasks to whoever reads what is known of them. However much happens, each
//! proxy waits in line once.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::lock;
use crate::names::ProxyId;

/// Names proxies of which something new is known, in the order of their first news.
#[derive(Debug)]
pub struct Changes(Arc<Line>);

#[derive(Debug, Clone)]
pub(super) struct Sender(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<ProxyId>,
    all: HashSet<ProxyId>,
}

pub(super) fn channel() -> (Sender, Changes) {
    let line = Arc::<Line>::default();
    (Sender(Arc::clone(&line)), Changes(line))
}

impl Sender {
    pub(super) fn tell(&self, id: &ProxyId) {
        let mut waiting = lock(&self.0.waiting);
        if waiting.all.insert(id.clone()) {
            waiting.order.push_back(id.clone());
            drop(waiting);
            self.0.bell.notify_one();
        }
    }
}

impl Changes {
    /// Waits for the next one. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> ProxyId {
        loop {
            if let Some(id) = self.take() {
                return id;
            }
            self.0.bell.notified().await;
        }
    }

    fn take(&mut self) -> Option<ProxyId> {
        let mut waiting = lock(&self.0.waiting);
        let id = waiting.order.pop_front()?;
        waiting.all.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ProxyKind;

    #[tokio::test]
    async fn a_proxy_waits_in_line_once_however_often_it_changes() {
        let id = |name: &str| ProxyId { namespace: "shop".to_owned(), kind: ProxyKind::Own(name.to_owned()) };
        let (sender, mut changes) = channel();
        for name in ["a", "b", "a", "a", "b"] {
            sender.tell(&id(name));
        }
        assert_eq!((changes.next().await, changes.next().await), (id("a"), id("b")));
        assert_eq!(changes.take(), None);
        sender.tell(&id("a"));
        assert_eq!(changes.next().await, id("a"));
    }
}
