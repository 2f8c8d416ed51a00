//! The secret key at the start, and what is on the disk.

use std::os::unix::fs::PermissionsExt as _;

use mainstay::compose::load_for_start;
use mainstay_core::clock::Clock;

use super::{Desk, text};

#[tokio::test]
async fn the_key_is_made_once_and_a_wrong_one_is_refused() {
    let desk = Desk::open().await;
    let machine = desk.machine().await;
    let token = text(&desk.machine_token(&machine, &[]).await.json(), "access_token");
    let path = desk.setup.folder.path().join("mainstay.key");
    let key = std::fs::read_to_string(&path).unwrap();
    assert_eq!(key.trim().len(), 64);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let config = desk.setup.config_path();
    let Desk { setup, .. } = desk;
    let folder = setup.folder;
    setup.engine.stop().await;
    // Neither the private key nor a secret is in the store as it is.
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        for secret in [machine.secret.as_str(), token.as_str()] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {:?}", entry.path());
        }
    }
    let start =
        |_: ()| load_for_start(config.clone(), Clock::System).unwrap_or_else(|_| panic!("it loads")).start;
    std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
    let refused =
        mainstay::compose::Engine::start(start(())).await.err().expect("it must not start").to_string();
    assert!(refused.contains("stores.secret_key") && refused.contains("used before"), "{refused}");
    std::fs::write(&path, key).unwrap();
    let engine = mainstay::compose::Engine::start(start(())).await.unwrap_or_else(|error| panic!("{error}"));
    engine.stop().await;
}
