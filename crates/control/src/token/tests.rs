use std::fs::{self, Permissions};

use tempfile::TempDir;

use super::*;

const GOOD: &str = "0123456789abcdef0123456789abcdef";

fn file(content: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.token");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

#[test]
fn a_file_open_to_others_is_refused_with_what_to_do() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o644] {
        let (_folder, path) = file(GOOD.as_bytes(), mode);
        let error = Token::load_or_create(&path).unwrap_err();
        assert!(matches!(error, TokenError::OpenToOthers { mode: found, .. } if found == mode), "{error:?}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(!error.to_string().contains(GOOD), "{error}");
    }
    for mode in [0o600, 0o400] {
        let (_folder, path) = file(GOOD.as_bytes(), mode);
        assert!(Token::load(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn what_holds_no_token_is_refused() {
    let long = "a".repeat(513);
    let longer = "a".repeat(100_000);
    let rows = [
        ("", "empty"),
        ("\n", "empty"),
        ("secret", "fewer"),
        ("0123456789abcdef0123456789abcde", "fewer"),
        ("0123456789abcdef 0123456789abcdef", "one line"),
        ("0123456789abcdef0123456789abcdef\nsecond", "one line"),
        ("0123456789abcdef0123456789abcdef\n\n", "one line"),
        ("0123456789abcdef0123456789abcdeé", "one line"),
        (long.as_str(), "more"),
        (longer.as_str(), "more"),
    ];
    for (content, expected) in rows {
        let (_folder, path) = file(content.as_bytes(), 0o600);
        match Token::load_or_create(&path).unwrap_err() {
            TokenError::Malformed { why, .. } => assert!(why.contains(expected), "{content:?}: {why}"),
            other => panic!("{content:?}: {other}"),
        }
        assert_eq!(fs::read(&path).unwrap(), content.as_bytes(), "a refused file is left as it is");
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Token::load(folder.path()), Err(TokenError::Malformed { .. })));
    let missing = folder.path().join("none");
    assert!(matches!(Token::load(&missing), Err(TokenError::Missing { .. })));
    let unmakeable = folder.path().join("no-such-folder/mainstay.token");
    assert!(matches!(Token::load_or_create(&unmakeable), Err(TokenError::NotCreated { .. })));
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(Token::load(&pipe), Err(TokenError::Malformed { .. })));
}

#[test]
fn a_dangling_link_is_never_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("elsewhere");
    let link = folder.path().join("mainstay.token");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(matches!(Token::load_or_create(&link), Err(TokenError::Missing { .. })));
    assert!(!target.exists());
}

#[test]
fn the_first_start_makes_it_and_the_next_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.token");
    let (made, created) = Token::load_or_create(&path).unwrap();
    assert!(created);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let line = fs::read_to_string(&path).unwrap();
    let secret = line.strip_suffix('\n').unwrap();
    assert_eq!(secret.len(), 64);
    assert!(secret.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(made.matches(secret.as_bytes()));

    let (read, created) = Token::load_or_create(&path).unwrap();
    assert!(!created && read.matches(secret.as_bytes()));

    let (other, _) = Token::load_or_create(&folder.path().join("other.token")).unwrap();
    assert!(!other.matches(secret.as_bytes()), "each file has a secret of its own");
}

#[test]
fn only_the_whole_token_matches() {
    let token = Token::parse(GOOD.as_bytes()).unwrap();
    let doubled = GOOD.repeat(2);
    let upper = GOOD.to_uppercase();
    for wrong in ["", "0", &GOOD[..31], &GOOD[1..], doubled.as_str(), upper.as_str()] {
        assert!(!token.matches(wrong.as_bytes()), "{wrong}");
    }
    for index in 0..GOOD.len() {
        let mut wrong = GOOD.as_bytes().to_vec();
        wrong[index] ^= 1;
        assert!(!token.matches(&wrong), "byte {index}");
    }
    assert!(token.matches(GOOD.as_bytes()));
    for ending in ["\n", "\r\n"] {
        assert!(Token::parse(format!("{GOOD}{ending}").as_bytes()).unwrap().matches(GOOD.as_bytes()));
    }
}

#[test]
fn nothing_prints_the_secret() {
    let token = Token::parse(GOOD.as_bytes()).unwrap();
    let printed = format!("{token:?} {:?}", token.authorization());
    assert!(!printed.contains(&GOOD[..8]), "{printed}");
}
