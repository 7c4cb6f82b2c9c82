//! The table of associations against a model: a plain list in the order of last use.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Client, Id, Table};

fn client(number: u8) -> Client {
    // Two of them differ only in the address they were sent to.
    let local = (number % 2 == 1).then_some([127, 0, 0, 2].into());
    Client { peer: ([10, 0, 0, number / 2], 1000).into(), local }
}

#[derive(Debug, Clone)]
enum Step {
    /// A datagram of this client: found and touched, or inserted.
    Datagram(u8),
    Wait(u64),
    Expire,
    Evict,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..12).prop_map(Step::Datagram),
        2 => (0u64..40).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        1 => Just(Step::Evict),
    ];
    prop::collection::vec(step, 0..200)
}

const TTL: Duration = Duration::from_secs(60);

/// Clients with the value each was given and its last use, the idlest first.
#[derive(Default)]
struct Model {
    list: Vec<(u8, usize, Instant)>,
    ids: Vec<(Id, usize)>,
    serial: usize,
}

impl Model {
    fn datagram(&mut self, table: &mut Table<usize>, number: u8, now: Instant) {
        let found = table.find(&client(number));
        match self.list.iter().position(|(known, ..)| *known == number) {
            Some(place) => {
                let (_, value, _) = self.list.remove(place);
                table.touch(found.unwrap(), now);
                assert_eq!(table.entry(found.unwrap()).unwrap(), (&client(number), &mut { value }));
                self.list.push((number, value, now));
            }
            None => {
                assert_eq!(found, None);
                self.serial += 1;
                let id = table.insert(client(number), self.serial, now);
                assert!(self.ids.iter().all(|(old, _)| *old != id), "{id:?} is used twice");
                self.ids.push((id, self.serial));
                self.list.push((number, self.serial, now));
            }
        }
    }

    fn expire(&mut self, table: &mut Table<usize>, now: Instant) {
        while let Some(value) = table.expire(TTL, now) {
            let (_, expected, used) = self.list.remove(0);
            assert!(value == expected && now >= used + TTL);
        }
        assert!(self.list.iter().all(|(_, _, used)| now < *used + TTL), "something expired is left");
    }

    fn check(&self, table: &mut Table<usize>) {
        assert_eq!(table.len(), self.list.len());
        assert_eq!(table.expiry(TTL), self.list.first().map(|(_, _, used)| *used + TTL));
        for (id, value) in &self.ids {
            let lives = self.list.iter().any(|(_, known, _)| known == value);
            assert_eq!(table.entry(*id).map(|(_, value)| *value), lives.then_some(*value));
            assert_eq!(Id::from_u64(id.to_u64()), *id);
        }
    }
}

proptest! {
    #[test]
    fn the_table_does_what_a_list_in_order_of_last_use_does(steps in steps()) {
        let (mut table, mut model) = (Table::new(), Model::default());
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Datagram(number) => model.datagram(&mut table, number, now),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Expire => model.expire(&mut table, now),
                Step::Evict => {
                    let expected = (!model.list.is_empty()).then(|| model.list.remove(0).1);
                    prop_assert_eq!(table.evict(), expected);
                }
            }
            model.check(&mut table);
        }
    }
}

#[test]
fn a_shorter_ttl_holds_for_what_is_there_already() {
    let mut table = Table::new();
    let start = Instant::now();
    table.insert(client(0), 'a', start);
    table.insert(client(1), 'b', start + Duration::from_secs(1));
    let later = start + Duration::from_secs(3);
    assert_eq!(table.expire(TTL, later), None);
    assert_eq!(table.expire(Duration::from_secs(3), later), Some('a'));
    assert_eq!(table.expire(Duration::from_secs(3), later), None);
}
