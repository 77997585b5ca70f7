//! Where the server listens: this machine alone, until there are roles.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

/// It cannot listen there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Others could reach it.
    #[error(
        "will not listen on {0}: there are no roles yet, so whoever reaches this port may change the whole fleet. Listen on \
         127.0.0.1 or [::1], and reach it from elsewhere through an SSH tunnel (ssh -L 8480:127.0.0.1:8480 …)"
    )]
    NotLoopback(SocketAddr),
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Binds an address of this machine.
///
/// # Errors
/// [`ListenError`] for any other address, or a port that is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Bind { address, source })
}

/// Serves until `stop` is there, then answers what was begun and ends.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused_with_the_reason() {
        let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("no roles yet"), "{error}");
        bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    }
}
