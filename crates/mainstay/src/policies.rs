//! Policies that change on disk come into use without a reload of the configuration.
//!
//! Beside the traffic, every second, the folders of `permissions` are looked at. What is found there is used once it was the
//! same twice: somebody who replaces a rule may have taken the old one away and not put the new one in yet, and a set without
//! the rule is not what they mean. What cannot be used changes nothing: it is an event and a metric.

use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_config::checked::{Checked, Permissions, PolicyFolder};
use mainstay_config::{Problem, read_policies};
use mainstay_telemetry::{Event, Registry};
use sha2::{Digest as _, Sha256};

use crate::lower::permissions::{build, problem};
use crate::reload::Handle;

/// How often the folders are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What has been found before.
#[derive(Default)]
struct Seen {
    /// The last time, when it was not what is in use.
    before: Option<Found>,
    /// What has been told not to be good.
    refused: Option<Found>,
}

/// The folders as they are on disk, or why they cannot be read.
type Found = Result<Permissions, String>;

/// Keeps policies fresh for as long as the engine lives.
pub(crate) async fn keep_fresh(handle: Weak<Handle>) {
    let mut seen = Seen::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(handle) = handle.upgrade() else { return };
        // A reload of the whole configuration reads them, too.
        let _alone = handle.no_reload().await;
        let blocking = Arc::clone(&handle);
        let looked = tokio::task::spawn_blocking(move || {
            look(&blocking, &mut seen);
            seen
        });
        // A failure of the thread itself begins anew.
        seen = looked.await.unwrap_or_default();
    }
}

fn look(handle: &Handle, seen: &mut Seen) {
    let checked = handle.checked();
    let Some(used) = &checked.permissions else { return };
    let found = read(used);
    if found.as_ref() == Ok(used) {
        *seen = Seen::default();
        return;
    }
    let is_steady = seen.before.as_ref() == Some(&found);
    if is_steady
        && seen.refused.as_ref() != Some(&found)
        && let Err(problems) = take(handle, &checked, &found)
    {
        handle.count(handle.policies.refused);
        let cause = problems.first().map(shown).unwrap_or_default();
        handle.events.emit(&Event::PoliciesRefused { cause: &cause, problems: problems.len() as u64 });
        seen.refused = Some(found.clone());
    }
    seen.before = Some(found);
}

fn read(used: &Permissions) -> Found {
    let folder = |used: &Option<PolicyFolder>| match used {
        None => Ok(None),
        Some(folder) => match read_policies(&folder.path) {
            Ok(files) => Ok(Some(PolicyFolder { path: folder.path.clone(), files })),
            Err(why) => Err(why.message),
        },
    };
    Ok(Permissions { policies: folder(&used.policies)?, shadow: folder(&used.shadow)? })
}

/// Puts what was found in the place of what is in use.
fn take(handle: &Handle, checked: &Checked, found: &Found) -> Result<(), Vec<Problem>> {
    let permissions = found.clone().map_err(|why| vec![Problem::error("bad_policy_folder", why)])?;
    let checked = Checked { permissions: Some(permissions), ..checked.clone() };
    let built = build(&checked).map_err(|findings| findings.iter().map(problem).collect::<Vec<_>>())?;
    let snapshot = handle.shared.snapshot.load_full();
    let (Some(policies), Some(live)) = (built, &snapshot.policies) else { return Ok(()) };
    live.store(Arc::new(policies));
    handle.count(handle.policies.loaded);
    let digest = digest(&checked);
    let files = files(&checked).count() as u64;
    handle.events.emit(&Event::PoliciesLoaded { digest: &digest, files });
    handle.replace_checked(checked);
    Ok(())
}

fn shown(problem: &Problem) -> String {
    if problem.line == 0 {
        return problem.message.clone();
    }
    format!("{}:{}:{}: {}", problem.file.display(), problem.line, problem.column, problem.message)
}

fn files(checked: &Checked) -> impl Iterator<Item = &mainstay_config::checked::PolicyFile> {
    let folders = checked.permissions.iter().flat_map(|p| [&p.policies, &p.shadow]).flatten();
    folders.flat_map(|folder| &folder.files)
}

/// What policies there are, in twelve digits.
fn digest(checked: &Checked) -> String {
    let mut hash = Sha256::new();
    for folder in checked.permissions.iter().flat_map(|p| [&p.policies, &p.shadow]) {
        for file in folder.iter().flat_map(|folder| &folder.files) {
            for part in
                [file.folder.as_bytes(), file.path.as_os_str().as_encoded_bytes(), file.text.as_bytes()]
            {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.update(u64::MAX.to_be_bytes());
    }
    hash.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Shows in each scrape which policies are in use.
pub(crate) fn observe(registry: &Registry, handle: &Arc<Handle>) {
    registry.observe_while(Arc::downgrade(handle), |handle, scrape| {
        let checked = handle.checked();
        if checked.permissions.is_some() {
            let digest = digest(&checked);
            scrape.gauge("mainstay_policies_info", "The policies in use.", &[("digest", &digest)], 1.0);
        }
    });
}
