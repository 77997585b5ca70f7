//! Connecting to the server with async-nats.

use async_nats::{Client, ConnectError, ConnectOptions};

use super::{NatsServer, UserKey};

impl NatsServer {
    /// Options of a client that trusts this server, as `user` when the server has users.
    pub fn client_options(&self, user: Option<&UserKey>) -> ConnectOptions {
        let options = match user {
            Some(key) => ConnectOptions::with_nkey(key.seed().to_owned()),
            None => ConnectOptions::new(),
        };
        match self.ca_path() {
            Some(ca) => options.add_root_certificates(ca.to_owned()).require_tls(true),
            None => options,
        }
    }

    /// A connected client with these options.
    pub async fn connect(&self, user: Option<&UserKey>) -> Result<Client, ConnectError> {
        self.client_options(user).connect(self.url()).await
    }
}
