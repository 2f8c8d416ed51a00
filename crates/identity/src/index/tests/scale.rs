//! A million keys: bytes, time to load, and steps of a search. Ignored: it is long without optimisation, and the allocator
//! that counts is the whole test process's.

use super::*;

#[test]
#[ignore = "long: loads a million keys"]
fn a_million_keys_are_found() {
    let mut loader = Loader::new(index());
    for number in 0..1000 {
        loader.apply(Change::Consumer(&consumer(&format!("consumer-{number}"))));
    }
    for number in 0..1_000_000 {
        loader.apply(Change::Key(&api_key(number, &format!("consumer-{}", number % 1000))));
    }
    let index = loader.finish(as_of());
    assert_eq!(index.sizes(), Sizes { keys: 1_000_000, consumers: 1000, clients: 0, users: 0 });
    for number in (0..1_000_000).step_by(997) {
        assert!(index.lookup_key(&hash(number), NOW).is_ok());
        assert!(index.lookup_key(&hash(number + 1_000_000), NOW).is_err());
    }
}
