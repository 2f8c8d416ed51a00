//! `permissions`: which files there are. What stands in them is Cedar, and is looked at where it is built.

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{self, Authorize, PolicyFolder};
use crate::decode::scalar::Text;
use crate::decode::{Map, Spanned};
use crate::diagnostic::Report;
use crate::policies;
use crate::raw::{self, FieldKind, OperationKeys};

impl Check<'_> {
    pub(super) fn permissions(&mut self, merged: &Merged) -> Option<checked::Permissions> {
        let given = merged.permissions.get()?;
        let (policies, shadow) = (given.value.policies.get(), given.value.shadow.get());
        if given.value.policies.is_absent() && given.value.shadow.is_absent() {
            let message = "`permissions` names no folder";
            self.report(
                Report::error("missing_key", &given.at, message).help("such as `policies: policies/`"),
            );
        }
        Some(checked::Permissions {
            policies: policies.and_then(|name| self.policy_folder(name)),
            shadow: shadow.and_then(|name| self.policy_folder(name)),
        })
    }

    fn policy_folder(&mut self, name: &Spanned<Text>) -> Option<PolicyFolder> {
        let path = self.folder(Some(&name.at)).join(&name.value.0);
        match policies::read(&path, self.store) {
            Ok(files) => Some(PolicyFolder { path, files }),
            Err(why) => {
                let report = Report::error("bad_policy_folder", &name.at, why.message);
                self.report(report.help(why.help));
                None
            }
        }
    }

    pub(super) fn authorize_of(&mut self, keys: &OperationKeys) -> Authorize {
        let raw = block(&keys.authorize, raw::Authorize::absent);
        let mut body = Vec::new();
        for entry in &block(&raw.body, Map::default).entries {
            let Some(field) = entry.value.get() else { continue };
            let help = "such as `{ at: /amount/value, type: long }`";
            let message = format!("the field `{}` of the body does not say where it is", entry.name.value);
            self.require(&field.value.at, &entry.name.at, &message, help);
            let message = format!("the field `{}` of the body does not say what it is", entry.name.value);
            self.require(&field.value.r#type, &entry.name.at, &message, help);
            let (Some(at), Some(kind)) = (field.value.at.get(), field.value.r#type.get()) else { continue };
            body.push(checked::BodyField {
                name: entry.name.value.clone(),
                at: at.value.0.clone(),
                kind: match kind.value {
                    FieldKind::Long => checked::FieldKind::Long,
                    FieldKind::Decimal => checked::FieldKind::Decimal,
                    FieldKind::String => checked::FieldKind::String,
                    FieldKind::Bool => checked::FieldKind::Bool,
                },
            });
        }
        body.sort_by(|a, b| a.name.cmp(&b.name));
        Authorize { action: raw.action.get().map(|action| action.value.0.clone()), body }
    }
}
