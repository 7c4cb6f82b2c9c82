//! Carries datagrams of a courier's turn: from clients to their associations' nodes, and back. Whatever can't be sent at
//! once is dropped and counted; what a path says against a node goes to the association.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{
    super::{
        tunnel::Answer,
        upstream::{Association, Place, Resolved, Tries, Upstream},
    },
    ANSWERS_PER_TURN, Round, next_batch,
};
use crate::{
    accept::{Phase, Trouble},
    association::{Client, Id},
    datagram::{Buffers, Way},
    stats::{DatagramCounters, Dropped},
};

impl Round {
    pub(super) fn carry_to_nodes(&mut self, buffers: &Buffers, count: usize) {
        let now = Instant::now();
        let answers_as_asked = self.answers_as_asked;
        let asked = |local: Option<IpAddr>| local.filter(|ip| answers_as_asked && !ip.is_multicast());
        let received =
            buffers.received(count).map(|one| (Client { peer: one.peer, local: asked(one.local) }, one.bytes));
        let received: Vec<(Client, &[u8])> = received.collect();
        for of_one in received.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((client, _)) = of_one.first() else { continue };
            let datagrams: Vec<&[u8]> = of_one.iter().map(|(_, bytes)| *bytes).collect();
            match self.table.find(client).or_else(|| self.admit(*client, now)) {
                Some(id) => self.carry_to_node(id, &datagrams, now),
                None => self.count().drop(Dropped::NoRoom, datagrams.len()),
            }
        }
    }

    /// Makes an association for a new client, for which the idlest one leaves when there is no room.
    fn admit(&mut self, client: Client, now: Instant) -> Option<Id> {
        if self.phase != Phase::Serving {
            return None;
        }
        let shared = &self.upstreams.shared;
        // Two associations take as much as the connection that there is no room for.
        for _ in 0..2 {
            if !self.load.has_room() {
                shared.control.raise(Trouble::OutOfDescriptors, now.into());
                self.table.evict()?;
            }
        }
        if !self.load.has_room() {
            return None;
        }
        while !shared.control.try_reserve() {
            shared.control.raise(Trouble::AtLimit, now.into());
            self.table.evict()?;
        }
        shared.control.clear_shortage(now.into());
        shared.associations.fetch_add(1, Relaxed);
        let place = Place::new(Arc::clone(&shared.control), Arc::clone(&self.load), self.worker);
        Some(self.table.insert(client, Association::new(place), now))
    }

    fn carry_to_node(&mut self, id: Id, datagrams: &[&[u8]], now: Instant) {
        self.table.touch(id, now);
        let (mut left, mut tries) = (datagrams, Tries::Anew);
        // Each round sends some, or leaves out a datagram or a node.
        while !left.is_empty() {
            let Some((_, association)) = self.table.entry(id) else { return };
            let upstreams = &mut self.upstreams;
            let counters = &upstreams.shared.counters[self.worker];
            match &mut association.upstream {
                Upstream::None => {
                    if !association.begin(id, std::mem::replace(&mut tries, Tries::GoOn), upstreams, now) {
                        return self.count().drop(Dropped::NoNode, left.len());
                    }
                }
                Upstream::Resolving(waiting) => {
                    let kept = waiting.keep(left);
                    return counters.drop(Dropped::QueueFull, left.len() - kept);
                }
                // The forward has lost its chain.
                Upstream::Tunnel(tunnel) if tunnel.is_over() => association.upstream = Upstream::None,
                Upstream::Tunnel(tunnel) => {
                    let taken = tunnel.take(left);
                    return counters.drop(Dropped::QueueFull, left.len() - taken);
                }
                Upstream::Open(open) => {
                    let way = Way { to: open.address, connected: true, from: None };
                    let sent = upstreams.batch.send(&open.socket, &way, left);
                    counters.to_upstream.fetch_add(sent.datagrams as u64, Relaxed);
                    counters.bytes_to_upstream.fetch_add(sent.bytes as u64, Relaxed);
                    if sent.datagrams > 0 {
                        open.sent_at = now;
                    }
                    left = &left[sent.datagrams..];
                    let Some(error) = sent.error else { return };
                    match Dropped::of(&error) {
                        Some(why) => {
                            upstreams.batch.forget_error(&open.socket);
                            counters.drop(why, 1);
                            left = &left[1..];
                        }
                        // The error is an earlier datagram's: this one is not lost yet.
                        None => association.failed(id, &error, upstreams, now),
                    }
                }
            }
        }
    }

    pub(super) fn resolved(&mut self, resolved: Resolved) {
        let (id, now) = (resolved.id, Instant::now());
        let Some((_, association)) = self.table.entry(id) else { return };
        let waiting = association.resolved(resolved, &mut self.upstreams, now);
        let datagrams: Vec<&[u8]> = waiting.datagrams.iter().map(AsRef::as_ref).collect();
        self.carry_to_node(id, &datagrams, now);
    }

    pub(super) fn carry_from_node(&mut self, id: Id, buffers: &mut Buffers) {
        let now = Instant::now();
        let Some((client, association)) = self.table.entry(id) else { return };
        let (client, limit) = (*client, self.from_nodes);
        let Upstream::Open(open) = &mut association.upstream else { return };
        match self.upstreams.batch.receive(&open.socket, buffers, limit) {
            Ok(count) => {
                association.answered(now);
                self.table.touch(id, now);
                self.carry_to_client(&client, buffers, count);
                self.from_nodes = next_batch(limit, count);
                if count == limit {
                    self.ready.push_back(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if Dropped::of(&error).is_some() => {
                self.upstreams.batch.forget_error(&open.socket);
                self.ready.push_back(id);
            }
            Err(error) => association.failed(id, &error, &mut self.upstreams, now),
        }
    }

    /// Hands on answers that tunnels brought, `first` and those behind it; returns whether there may be more.
    pub(super) fn carry_from_tunnels(&mut self, first: Option<Answer>) -> bool {
        let now = Instant::now();
        let mut answers: Vec<Answer> = first.into_iter().collect();
        while answers.len() < ANSWERS_PER_TURN
            && let Ok(answer) = self.answers.try_recv()
        {
            answers.push(answer);
        }
        for of_one in answers.chunk_by(|a, b| a.id == b.id) {
            let Some(id) = of_one.first().map(|answer| answer.id) else { continue };
            self.table.touch(id, now);
            let Some((client, _)) = self.table.entry(id) else { continue };
            let client = *client;
            let datagrams: Vec<&[u8]> = of_one.iter().map(|answer| &*answer.datagram).collect();
            self.send_to_client(&client, &datagrams);
        }
        answers.len() == ANSWERS_PER_TURN
    }

    fn carry_to_client(&self, client: &Client, buffers: &Buffers, count: usize) {
        let datagrams: Vec<&[u8]> = buffers.received(count).map(|one| one.bytes).collect();
        self.send_to_client(client, &datagrams);
    }

    fn send_to_client(&self, client: &Client, datagrams: &[&[u8]]) {
        let mut way = Way { to: client.peer, connected: false, from: client.local };
        let (mut left, counters) = (datagrams, self.count());
        while !left.is_empty() {
            let sent = self.upstreams.batch.send(self.listener.get_ref(), &way, left);
            counters.to_client.fetch_add(sent.datagrams as u64, Relaxed);
            counters.bytes_to_client.fetch_add(sent.bytes as u64, Relaxed);
            left = &left[sent.datagrams..];
            let Some(error) = sent.error else { return };
            // What was asked may have been a broadcast address, which nobody can answer as.
            if way.from.take().is_none() || Dropped::of(&error).is_some() {
                counters.drop(Dropped::of(&error).unwrap_or(Dropped::Refused), 1);
                left = &left[1..];
            }
        }
    }

    fn count(&self) -> &DatagramCounters {
        &self.upstreams.shared.counters[self.worker]
    }
}
