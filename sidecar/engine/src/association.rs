//! One worker's UDP associations: which client has which value (its way to a node), and who has been idle longest.
//!
//! Pure: `now` comes from the caller (`forward/local_udp`), and no clock or socket is touched. Invariant: the list of
//! associations in the order of their last use is the order in which they expire, whatever the ttl.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// No slot: the end of the list.
const NONE: u32 = u32::MAX;

/// A client as its datagrams name it: the same socket that talks to two of our addresses is two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The address of this host that it sent to, where the listener has several.
    pub(crate) local: Option<IpAddr>,
}

/// Names an association; never used for another one of the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    slot: u32,
    generation: u32,
}

/// Associations by client and by age.
#[derive(Debug)]
pub(crate) struct Table<V> {
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    by_client: HashMap<Client, u32>,
    idlest: u32,
    latest: u32,
}

#[derive(Debug)]
struct Slot<V> {
    generation: u32,
    taken: Option<Taken<V>>,
}

#[derive(Debug)]
struct Taken<V> {
    client: Client,
    value: V,
    used: Instant,
    /// The neighbours in the order of last use.
    before: u32,
    after: u32,
}

impl Id {
    /// The number the system hands back with an event.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The name that [`Id::to_u64`] made a number of.
    pub(crate) fn from_u64(number: u64) -> Self {
        Self { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

impl<V> Table<V> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_client: HashMap::new(), idlest: NONE, latest: NONE }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(crate) fn find(&self, client: &Client) -> Option<Id> {
        self.by_client.get(client).map(|&slot| self.id(slot))
    }

    /// Adds an association; a client that has one must be found instead.
    pub(crate) fn insert(&mut self, client: Client, value: V, now: Instant) -> Id {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, taken: None });
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].taken = Some(Taken { client, value, used: now, before: NONE, after: NONE });
        self.append(slot);
        self.by_client.insert(client, slot);
        self.id(slot)
    }

    /// The client and the value of an association; none when it has ended.
    pub(crate) fn entry(&mut self, id: Id) -> Option<(&Client, &mut V)> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.taken.as_mut().map(|taken| (&taken.client, &mut taken.value))
    }

    /// A datagram passed, in either direction.
    pub(crate) fn touch(&mut self, id: Id, now: Instant) {
        if self.entry(id).is_none() {
            return;
        }
        if self.latest != id.slot {
            self.unlink(id.slot);
            self.append(id.slot);
        }
        if let Some(taken) = self.taken(id.slot) {
            taken.used = now;
        }
    }

    /// Takes out the idlest association if it has been idle for `ttl`.
    pub(crate) fn expire(&mut self, ttl: Duration, now: Instant) -> Option<V> {
        (self.expiry(ttl)? <= now).then(|| self.evict()).flatten()
    }

    /// Takes out the idlest association.
    pub(crate) fn evict(&mut self) -> Option<V> {
        (self.idlest != NONE).then(|| self.take(self.idlest)).flatten()
    }

    /// When the next association expires.
    pub(crate) fn expiry(&self, ttl: Duration) -> Option<Instant> {
        let idlest = self.slots.get(self.idlest as usize)?.taken.as_ref()?;
        Some(idlest.used + ttl)
    }

    fn id(&self, slot: u32) -> Id {
        Id { slot, generation: self.slots[slot as usize].generation }
    }

    fn taken(&mut self, slot: u32) -> Option<&mut Taken<V>> {
        self.slots.get_mut(slot as usize)?.taken.as_mut()
    }

    fn take(&mut self, slot: u32) -> Option<V> {
        self.unlink(slot);
        let place = self.slots.get_mut(slot as usize)?;
        let taken = place.taken.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        self.by_client.remove(&taken.client);
        Some(taken.value)
    }

    fn append(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.latest, slot);
        if let Some(taken) = self.taken(slot) {
            (taken.before, taken.after) = (before, NONE);
        }
        match self.taken(before) {
            Some(previous) => previous.after = slot,
            None => self.idlest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some((before, after)) = self.taken(slot).map(|taken| (taken.before, taken.after)) else { return };
        match self.taken(before) {
            Some(previous) => previous.after = after,
            None => self.idlest = after,
        }
        match self.taken(after) {
            Some(next) => next.before = before,
            None => self.latest = before,
        }
    }
}

#[cfg(test)]
mod tests;
