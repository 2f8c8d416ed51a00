use proptest::prelude::*;

use super::*;

const VECTOR: &str = "msk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2Yqit9";

fn vector_bytes() -> [u8; 32] {
    std::array::from_fn(|at| at as u8)
}

#[test]
fn the_vector_of_the_contract() {
    let key = ApiKeyText::generate(&vector_bytes(), Mode::Live);
    assert_eq!(key.reveal(), VECTOR);
    assert_eq!(key.sha256().to_hex(), "8f8945a672f18506b2bbc8b1746ed529a9e3ef27d16e97787fbca844daf4d716");
    assert_eq!(form(VECTOR.as_bytes()), KeyForm::Sound(Mode::Live));
    assert_eq!(decode_256(&VECTOR.as_bytes()[9..52]), Some(vector_bytes()));
}

/// The digits are right and the number is not one of 32 bytes: the checksum alone would let it through.
fn too_large() -> Vec<u8> {
    let mut text = [b"msk_live_".as_slice(), &[b'z'; 43]].concat();
    let check = check_digits(&text);
    text.extend(check);
    text
}

#[test]
fn texts_are_told_apart_offline() {
    let vector = VECTOR.as_bytes();
    let changed = |at: usize, to: u8| {
        let mut text = vector.to_vec();
        text[at] = to;
        text
    };
    use KeyForm::{Foreign, Malformed, WrongChecksum};
    let rows: Vec<(&str, Vec<u8>, KeyForm)> = vec![
        ("empty", Vec::new(), Foreign),
        ("another's", b"sk_live_4eC39HqLyjWDarjtT1zdp7dc".to_vec(), Foreign),
        ("case-folded, upper", vector.to_ascii_uppercase(), Foreign),
        ("case-folded, lower", vector.to_ascii_lowercase(), WrongChecksum),
        ("leading space", [b" ", vector].concat(), Foreign),
        ("trailing space", [vector, b" "].concat(), Malformed),
        ("trailing newline", [vector, b"\n"].concat(), Malformed),
        ("trailing NUL", [vector, b"\0"].concat(), Malformed),
        ("a prefix of it", vector[..57].to_vec(), Malformed),
        ("the mark alone", b"msk_".to_vec(), Malformed),
        ("mark and mode alone", b"msk_live_".to_vec(), Malformed),
        ("one more digit", [vector, b"0"].concat(), Malformed),
        ("another mode", changed(4, b'x'), Malformed),
        ("test for live", VECTOR.replace("live", "test").into_bytes(), WrongChecksum),
        ("a digit changed", changed(20, b'0'), WrongChecksum),
        ("a check digit changed", changed(57, b'0'), WrongChecksum),
        ("a character that is no digit", changed(20, b'-'), Malformed),
        ("a check character that is no digit", changed(57, b'-'), Malformed),
        ("a Cyrillic look-alike", VECTOR.replace('a', "\u{430}").into_bytes(), Malformed),
        ("full-width", VECTOR.replace('0', "\u{ff10}").into_bytes(), Malformed),
        ("more than 256 bits", too_large(), Malformed),
        ("64 KiB of it", vector.repeat(1130), Malformed),
    ];
    for (what, text, expected) in rows {
        assert_eq!(form(&text), expected, "{what}");
    }
}

#[test]
fn nothing_shows_a_key() {
    let key = ApiKeyText::generate(&[7; 32], Mode::Test);
    assert_eq!(format!("{key:?}"), "ApiKeyText(secret)");
    assert!(key.reveal().starts_with("msk_test_"));
}

#[test]
fn ids_have_22_digits() {
    assert_eq!(id("key_", &[0; 16]), format!("key_{}", "0".repeat(22)));
    assert_eq!(id("client_", &[0xff; 16]), "client_7n42DGM5Tflk9n8mt7Fhc7");
}

proptest! {
    #[test]
    fn every_key_is_sound_and_no_changed_one_is(
        random in any::<[u8; 32]>(), at in 0..KEY_BYTES, to in any::<u8>(), is_test in any::<bool>(),
    ) {
        let mode = if is_test { Mode::Test } else { Mode::Live };
        let key = ApiKeyText::generate(&random, mode);
        let mut text = key.reveal().as_bytes().to_vec();
        prop_assert_eq!(form(&text), KeyForm::Sound(mode));
        prop_assert_eq!(decode_256(&text[9..52]), Some(random));
        if text[at] != to {
            text[at] = to;
            // CRC-32 finds every change of up to 32 bits in a row.
            prop_assert!(!matches!(form(&text), KeyForm::Sound(_)));
        }
    }

    #[test]
    fn any_bytes_are_read(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        form(&text);
    }
}
