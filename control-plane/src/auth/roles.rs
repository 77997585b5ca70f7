//! The roles in a token's claims. One function reads them, so that dashboard and auth callout cannot disagree on who is an
//! administrator.
//!
//! Two shapes are read. An array of names, `["fleet-admin"]`, is what most providers give. Zitadel gives a map from the name to
//! the organisations that granted it, `{"fleet-admin": {"org-id": "org.example.com"}}`. Every other shape holds no roles: a
//! claim that is wrong, or missing, never makes anybody more than they are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// May do everything.
pub const ADMIN: &str = "fleet-admin";
/// May look at everything.
pub const VIEWER: &str = "fleet-viewer";
/// Is a device.
pub const DEVICE: &str = "device";

/// Zitadel's claim for the roles in the project that a token was asked for.
const GENERAL: &str = "urn:zitadel:iam:org:project:roles";
/// Most roles that are read of one token. A claim with more is not read at all: which of them would count?
const MAX_ROLES: usize = 256;

/// In which claim the roles are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleClaim(String);

impl RoleClaim {
    /// Zitadel's claim for whichever project the token was asked for.
    #[must_use]
    pub fn general() -> Self {
        Self(GENERAL.to_owned())
    }

    /// Zitadel's claim for one project. A token that was asked for several has one for each, and only this one counts.
    #[must_use]
    pub fn of_project(id: &str) -> Self {
        Self(format!("urn:zitadel:iam:org:project:{id}:roles"))
    }

    /// Another provider's claim.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The claim's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The roles in these claims, each once; empty where there are none, or none that can be read.
    #[must_use]
    pub fn roles(&self, claims: &Map<String, Value>) -> BTreeSet<String> {
        match claims.get(&self.0) {
            Some(Value::Array(names)) if names.len() <= MAX_ROLES => names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                // One that is no name spoils them all: whoever wrote the claim meant something else by it.
                .collect::<Option<_>>()
                .unwrap_or_default(),
            Some(Value::Object(granted)) if granted.len() <= MAX_ROLES => granted
                .iter()
                .filter(|(_, by)| is_granted(by))
                .map(|(name, _)| name.clone())
                .collect(),
            _ => BTreeSet::new(),
        }
    }
}

/// Whether an organisation stands behind it: `{"org-id": "org.example.com"}`.
fn is_granted(by: &Value) -> bool {
    let organisations = by.as_object();
    organisations.is_some_and(|all| !all.is_empty() && all.values().all(Value::is_string))
}

/// What NATS is told about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// May do everything.
    Admin,
    /// May do what one device may.
    Device,
}

/// Whom the roles make of somebody; `None` is nobody. An administrator that is also called a device is an administrator.
#[must_use]
pub fn party(roles: &BTreeSet<String>) -> Option<Party> {
    match (roles.contains(ADMIN), roles.contains(DEVICE)) {
        (true, _) => Some(Party::Admin),
        (false, true) => Some(Party::Device),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn roles_in(claims: Value) -> Vec<String> {
        let Value::Object(claims) = claims else {
            panic!("claims are an object")
        };
        RoleClaim::general().roles(&claims).into_iter().collect()
    }

    fn with(claim: Value) -> Vec<String> {
        roles_in(json!({ "sub": "1", GENERAL: claim }))
    }

    #[test]
    fn both_shapes_give_the_same_roles() {
        let expected = ["fleet-admin", "fleet-viewer"];
        assert_eq!(
            with(json!(["fleet-viewer", "fleet-admin", "fleet-admin"])),
            expected
        );
        let granted =
            json!({ "fleet-admin": { "17": "a.example.com" }, "fleet-viewer": { "17": "a.example.com" } });
        assert_eq!(with(granted), expected);
    }

    #[test]
    fn a_missing_claim_and_every_other_shape_hold_no_role() {
        assert_eq!(roles_in(json!({ "sub": "1" })), [""; 0]);
        for claim in [
            json!(null),
            json!("fleet-admin"),
            json!("fleet-admin fleet-viewer"),
            json!(7),
            json!(true),
            json!(["fleet-admin", 7]),
            json!([["fleet-admin"]]),
            json!([{ "fleet-admin": {} }]),
            json!({ "fleet-admin": {} }),
            json!({ "fleet-admin": null }),
            json!({ "fleet-admin": true }),
            json!({ "fleet-admin": ["17"] }),
            json!({ "fleet-admin": { "17": 1 } }),
            json!({ "roles": { "fleet-admin": { "17": "a.example.com" } } }),
        ] {
            let roles = with(claim.clone());
            assert!(!roles.contains(&ADMIN.to_owned()), "{claim}: {roles:?}");
        }
        let many: Vec<String> = (0..MAX_ROLES)
            .map(|n| format!("r{n}"))
            .chain([ADMIN.to_owned()])
            .collect();
        assert_eq!(with(json!(many)), [""; 0]);
    }

    #[test]
    fn names_are_compared_to_the_letter() {
        for name in [
            "Fleet-Admin",
            "fleet-admin ",
            " fleet-admin",
            "fleet-admin\0",
            "fleet_admin",
            "fleet-administrator",
        ] {
            let roles = BTreeSet::from([name.to_owned()]);
            assert_eq!(party(&roles), None, "{name:?}");
        }
    }

    #[test]
    fn with_a_project_only_its_own_claim_counts() {
        let claims = json!({
            GENERAL: ["fleet-admin"],
            "urn:zitadel:iam:org:project:42:roles": ["fleet-viewer"],
            "urn:zitadel:iam:org:project:43:roles": ["fleet-admin"],
        });
        let claims = claims.as_object().expect("an object");
        let of = |claim: RoleClaim| claim.roles(claims).into_iter().collect::<Vec<_>>();
        assert_eq!(of(RoleClaim::of_project("42")), ["fleet-viewer"]);
        assert_eq!(of(RoleClaim::of_project("44")), [""; 0]);
        assert_eq!(of(RoleClaim::named("groups")), [""; 0]);
    }

    #[test]
    fn a_device_is_no_administrator_and_an_administrator_is_no_mere_device() {
        let party_of = |names: &[&str]| party(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(party_of(&[DEVICE]), Some(Party::Device));
        assert_eq!(party_of(&[DEVICE, ADMIN]), Some(Party::Admin));
        assert_eq!(party_of(&[VIEWER]), None);
        assert_eq!(party_of(&[]), None);
    }
}
