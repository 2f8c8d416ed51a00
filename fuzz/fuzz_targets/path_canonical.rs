//! The canonical form of any bytes: stable, unambiguous, borrowed exactly when nothing changed.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use mainstay_policy::route::canonical_path;

fuzz_target!(|raw: &[u8]| {
    let Ok(path) = canonical_path(raw) else { return };
    assert_eq!(matches!(path, Cow::Borrowed(_)), path.as_bytes() == raw);
    assert_eq!(canonical_path(path.as_bytes()).as_deref(), Ok(&*path), "the canonical form is its own");

    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!path.contains(['\\', '?', '#']));
    let upper = path.to_ascii_uppercase();
    for forbidden in ["%2F", "%5C", "%2E", "%00", "%0A", "%7F", "%41", "%7E"] {
        assert!(!upper.contains(forbidden), "{forbidden} in {path}");
    }
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap_or("");
        let name = name.split("%3B").next().unwrap_or("");
        assert!(!matches!(name, "." | ".."), "dot segment in {path}");
    }
});
