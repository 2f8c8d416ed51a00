//! Any order of changes against a naive twin that asks the records themselves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::refusal::KeyRefusal;

#[derive(Clone, Debug)]
enum Op {
    Consumer { number: u8, suspended: bool },
    ConsumerGone(u8),
    Key { id: u8, hash: u8, consumer: u8, revoked: bool },
    KeyGone(u8),
    File { consumers: Vec<u8>, keys: Vec<(u8, u8)> },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..3_u8, any::<bool>()).prop_map(|(number, suspended)| Op::Consumer { number, suspended }),
        (0..3_u8).prop_map(Op::ConsumerGone),
        // A hash belongs to one id, as the store sees to.
        (0..6_u8, 0..2_u8, 0..3_u8, any::<bool>()).prop_map(|(id, which, consumer, revoked)| Op::Key {
            id,
            hash: id * 2 + which,
            consumer,
            revoked
        }),
        (0..6_u8).prop_map(Op::KeyGone),
        (proptest::collection::vec(0..3_u8, 0..3), proptest::collection::vec((0..12_u8, 0..3_u8), 0..3))
            .prop_map(|(consumers, keys)| Op::File { consumers, keys }),
    ];
    proptest::collection::vec(op, 1..40)
}

#[derive(Default)]
struct Twin {
    consumers: BTreeMap<String, Consumer>,
    keys: BTreeMap<String, ApiKey>,
    file_consumers: BTreeMap<String, Consumer>,
    file_keys: BTreeMap<Sha256, ApiKey>,
}

impl Twin {
    fn lookup(&self, sha256: &Sha256) -> Result<(), KeyRefusal> {
        let of_catalogue = self.keys.values().find(|key| key.sha256 == *sha256);
        let key = of_catalogue.or(self.file_keys.get(sha256)).ok_or(KeyRefusal::Unknown)?;
        let consumer = self.consumers.get(&key.consumer).or(self.file_consumers.get(&key.consumer));
        let consumer = consumer.ok_or(KeyRefusal::Unknown)?;
        match (key.revoked_at, consumer.suspended) {
            (Some(_), _) => Err(KeyRefusal::Revoked),
            (None, true) => Err(KeyRefusal::Suspended),
            (None, false) => Ok(()),
        }
    }
}

fn name(number: u8) -> String {
    format!("c{number}")
}

fn apply(index: &Index, twin: &mut Twin, op: &Op) {
    match op {
        Op::Consumer { number, suspended } => {
            let record = Consumer { suspended: *suspended, ..consumer(&name(*number)) };
            index.apply(Change::Consumer(&record));
            twin.consumers.insert(record.id.clone(), record);
        }
        Op::ConsumerGone(number) => {
            index.apply(Change::ConsumerGone(&name(*number)));
            twin.consumers.remove(&name(*number));
        }
        Op::Key { id, hash: number, consumer, revoked } => {
            let record = ApiKey {
                sha256: hash(u64::from(*number)),
                revoked_at: revoked.then_some(1),
                ..api_key(u64::from(*id), &name(*consumer))
            };
            index.apply(Change::Key(&record));
            twin.keys.insert(record.id.clone(), record);
        }
        Op::KeyGone(id) => {
            let id = api_key(u64::from(*id), "").id;
            index.apply(Change::KeyGone(&id));
            twin.keys.remove(&id);
        }
        Op::File { consumers, keys } => {
            let mut by_hash = BTreeMap::new();
            for (number, consumer) in keys {
                let record = ApiKey { sha256: hash(u64::from(*number)), ..api_key(99, &name(*consumer)) };
                by_hash.insert(record.sha256, record);
            }
            let consumers: BTreeMap<_, _> =
                consumers.iter().map(|number| (name(*number), consumer(&name(*number)))).collect();
            let list: Vec<_> = by_hash.values().cloned().collect();
            index.set_file(&consumers.values().cloned().collect::<Vec<_>>(), &list);
            (twin.file_consumers, twin.file_keys) = (consumers, by_hash);
        }
    }
}

proptest! {
    // Each case makes and drops an index with all its shards.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_order_of_changes(ops in ops()) {
        let (index, mut twin) = (index(), Twin::default());
        for op in &ops {
            let before: Vec<_> = (0..12).map(|n| twin.lookup(&hash(n))).collect();
            let generation = index.generation();
            apply(&index, &mut twin, op);
            let after: Vec<_> = (0..12).map(|n| twin.lookup(&hash(n))).collect();
            let found: Vec<_> = (0..12).map(|n| index.lookup_key(&hash(n), NOW).map(|_| ())).collect();
            prop_assert_eq!(&found, &after, "{:?}", op);
            if before != after {
                prop_assert_ne!(index.generation(), generation, "{:?}", op);
            }
        }
        // Nothing is left of what is gone.
        for id in twin.keys.keys() {
            index.apply(Change::KeyGone(id));
        }
        index.set_file(&[], &[]);
        for number in 0..3 {
            index.apply(Change::ConsumerGone(&name(number)));
        }
        prop_assert_eq!(index.sizes(), Sizes::default());
    }
}
