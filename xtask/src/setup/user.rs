//! What the user who runs this may do, looked at before anything is built.

use std::fs;

use anyhow::{Result, bail};
use nix::unistd::{Uid, User, geteuid};

use super::needs::Purpose;

const TABLES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The device's root file system has files of many users: who is not root needs ranges of subordinate ids to make them.
pub fn check(purposes: &[Purpose]) -> Result<()> {
    let uid = geteuid();
    let makes_an_image = purposes.iter().any(|purpose| purpose.includes(Purpose::Image));
    if uid.is_root() || !makes_an_image {
        return Ok(());
    }
    let name = User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    // A table that is not there lists nobody.
    let without = TABLES
        .into_iter()
        .filter(|table| !is_listed(&fs::read_to_string(table).unwrap_or_default(), &name, uid));
    match advice(&name, &without.collect::<Vec<_>>()) {
        Some(advice) => bail!(advice),
        None => Ok(()),
    }
}

fn is_listed(table: &str, name: &str, uid: Uid) -> bool {
    table
        .lines()
        .filter_map(|line| line.split(':').next())
        .any(|who| who == name || who == uid.to_string())
}

fn advice(name: &str, without: &[&str]) -> Option<String> {
    (!without.is_empty()).then(|| {
        format!(
            "user {name} has no ids of its own in {}, which the device image needs; nothing was changed: run \
             `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}` as root (any free range of 65536 will do)",
            without.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_listed_by_name_or_by_number() {
        let table = "alice:100000:65536\n1001:165536:65536\n";
        assert!(is_listed(table, "alice", Uid::from_raw(1000)));
        assert!(is_listed(table, "bob", Uid::from_raw(1001)));
        assert!(!is_listed(table, "ali", Uid::from_raw(100)));
        assert!(!is_listed("", "alice", Uid::from_raw(1000)));
    }

    #[test]
    fn who_lacks_ids_is_told_where_and_what_to_run() {
        let text = advice("alice", &["/etc/subgid"]).expect("one table lacks her");
        assert!(
            text.starts_with("user alice has no ids of its own in /etc/subgid,")
                && text.contains("--add-subgids 100000-165535 alice` as root"),
            "{text}"
        );
        assert_eq!(advice("alice", &[]), None);
    }
}
