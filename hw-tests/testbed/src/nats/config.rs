//! The server's configuration file. Its syntax is a superset of JSON, so JSON it is: every string is quoted right.

use std::path::Path;

use serde_json::{Value, json};

use super::NatsUser;
use crate::ca::ServerFiles;

/// Ports on 127.0.0.1.
pub(super) struct Listen {
    pub(super) port: u16,
    pub(super) monitor: u16,
}

pub(super) fn render(listen: Listen, store: &Path, tls: Option<&ServerFiles>, users: &[NatsUser]) -> String {
    let mut config = json!({
        "server_name": "fleet-testbed",
        "listen": format!("127.0.0.1:{}", listen.port),
        "http": format!("127.0.0.1:{}", listen.monitor),
        "jetstream": {
            "store_dir": store,
            // JetStream otherwise acknowledges a write minutes before it is on disk.
            "sync_interval": "always",
            "max_memory_store": 256 << 20,
            "max_file_store": 4_u64 << 30,
        },
    });
    if let Some(files) = tls {
        config["tls"] = json!({ "cert_file": files.certificate, "key_file": files.key });
    }
    if !users.is_empty() {
        config["authorization"] = json!({ "users": users.iter().map(user).collect::<Vec<_>>() });
    }
    format!("{config:#}\n")
}

fn user(user: &NatsUser) -> Value {
    let mut entry = json!({ "nkey": user.public_key() });
    if let Some(permissions) = user.permissions() {
        entry["permissions"] = json!({
            "publish": allowed(&permissions.publish_allow),
            "subscribe": allowed(&permissions.subscribe_allow),
            "allow_responses": permissions.allow_responses,
        });
    }
    entry
}

/// The server takes an empty list as "no restriction", which is the opposite of what it means here.
fn allowed(subjects: &[String]) -> Value {
    if subjects.is_empty() {
        json!({ "deny": [">"] })
    } else {
        json!({ "allow": subjects })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_permission_list_denies_everything() {
        assert_eq!(allowed(&[]), json!({ "deny": [">"] }));
        assert_eq!(allowed(&["a.>".into()]), json!({ "allow": ["a.>"] }));
    }

    #[test]
    fn every_acknowledged_write_is_on_disk() {
        let text = render(Listen { port: 1, monitor: 2 }, Path::new("/s"), None, &[]);
        let config: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(config["jetstream"]["sync_interval"], "always");
        assert_eq!(config["listen"], "127.0.0.1:1");
    }
}
