//! Blocks of fields: what is refused at which byte, and what is built.

use super::*;

/// The verdict, and how many bytes were looked at for it.
fn scan(block: &[u8]) -> (Result<bool, FieldFault>, usize) {
    let mut at = 0;
    let verdict = FieldScan::default().advance(block, &mut at, 3);
    (verdict, at)
}

fn built(block: &'static [u8]) -> Vec<(String, Vec<u8>)> {
    let mut scan = FieldScan::default();
    let mut at = 0;
    assert_eq!(scan.advance(block, &mut at, 100), Ok(true));
    assert_eq!(at, block.len());
    let map = build::<FieldFault>(&Bytes::from_static(block), scan.found(), |_, _, _| Ok(true)).unwrap();
    map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

#[test]
fn a_bad_block_is_refused_at_the_byte_that_makes_it_bad() {
    for (block, part, at) in [
        (&b" a: b\r\n\r\n"[..], "before the first field", 0),
        (b"\ta: b\r\n\r\n", "before the first field", 0),
        (b"a: b\r\n c\r\n\r\n", "folded", 6),
        (b"a: b\r\n\tc\r\n\r\n", "folded", 6),
        (b": b\r\n\r\n", "empty name", 0),
        (b"a : b\r\n\r\n", "before its colon", 1),
        (b"a\t: b\r\n\r\n", "before its colon", 1),
        (b"a b: c\r\n\r\n", "before its colon", 1),
        (b"abc\r\n\r\n", "no colon", 3),
        (b"abc\n\r\n", "no colon", 3),
        (b"a[: b\r\n\r\n", "name has a byte", 1),
        (b"a\0: b\r\n\r\n", "name has a byte", 1),
        (b"\"a\": b\r\n\r\n", "name has a byte", 0),
        (b"\xc3\xa9: b\r\n\r\n", "name has a byte", 0),
        (b"a\x7f: b\r\n\r\n", "name has a byte", 1),
        (b"\n", "no colon", 0),
        (b"a: b\n\r\n", "bare line feed", 4),
        (b"a: b\rc\r\n\r\n", "stands alone", 5),
        (b"a: b\r\r\n\r\n", "stands alone", 5),
        (b"a: b\r\n\ra", "stands alone", 7),
        (b"a: b\0c\r\n\r\n", "NUL", 4),
        (b"a: b\x0bc\r\n\r\n", "control byte", 4),
        (b"a: \x0bchunked\r\n\r\n", "control byte", 3),
        (b"a: b\x7f\r\n\r\n", "control byte", 4),
        (b"a:\x1b[31m\r\n\r\n", "control byte", 2),
    ] {
        let (verdict, stopped_at) = scan(block);
        let Err(FieldFault::Malformed(detail)) = verdict else { panic!("{block:?}: {verdict:?}") };
        assert!(detail.contains(part), "{block:?}: {detail}");
        assert_eq!(stopped_at, at, "{block:?}: {detail}");
    }
}

#[test]
fn the_field_over_the_limit_is_refused_at_its_first_byte() {
    let (verdict, at) = scan(b"a:1\r\nb:2\r\nc:3\r\nd");
    assert!(matches!(verdict, Err(FieldFault::TooLarge(_))), "{verdict:?}");
    assert_eq!(at, 15);
    assert_eq!(scan(b"a:1\r\nb:2\r\nc:3\r\n\r\n"), (Ok(true), 17));
}

#[test]
fn an_unfinished_block_waits() {
    let block = b"a: b\r\nlonger-name:  value\twith tab \r\n\r\n";
    for cut in 0..block.len() {
        assert_eq!(scan(&block[..cut]), (Ok(false), cut));
    }
    assert_eq!(scan(block), (Ok(true), block.len()));
}

#[test]
fn values_are_trimmed_and_names_lower_cased() {
    assert_eq!(
        built(b"A:\r\nB: \t \r\nSet-Cookie:x=1\r\nC:\t a\tb \x80\xff \t\r\nset-cookie: y\r\n\r\n"),
        [
            ("a".into(), b"".to_vec()),
            ("b".into(), b"".to_vec()),
            ("set-cookie".into(), b"x=1".to_vec()),
            ("set-cookie".into(), b"y".to_vec()),
            ("c".into(), b"a\tb \x80\xff".to_vec()),
        ]
    );
    assert_eq!(built(b"\r\n"), []);
}

#[test]
fn credentials_are_marked() {
    let block = Bytes::from_static(b"Authorization: Bearer x\r\nCookie: a\r\nAccept: b\r\n\r\n");
    let mut scan = FieldScan::default();
    assert_eq!(scan.advance(&block, &mut 0, 9), Ok(true));
    let map = build::<FieldFault>(&block, scan.found(), |_, _, _| Ok(true)).unwrap();
    assert!(map["authorization"].is_sensitive() && map["cookie"].is_sensitive());
    assert!(!map["accept"].is_sensitive());
}
