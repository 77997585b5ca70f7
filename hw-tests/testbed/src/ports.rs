//! Loopback ports that stay ours while a service is down.
//!
//! A port that the kernel hands out can be handed to somebody else as soon as the service stops, and a restart on the same
//! port then fails once in a while. So ports come from below the range that the kernel uses for outgoing connections, and
//! each one is held by a file lock that every process which uses this crate respects.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

/// Below the kernel's default range for outgoing connections (32768 to 60999), above the well-known services.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// No port could be reserved.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The folder for the lock files can't be used.
    #[error("cannot keep port locks in {folder}", folder = folder.display())]
    Locks {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The port is held by another program or another test.
    #[error("port {0} on 127.0.0.1 is taken: end the program that listens there, or choose another port")]
    Taken(u16),
    /// Nothing was free.
    #[error("no free port between {FIRST} and {last} on 127.0.0.1", last = FIRST + COUNT - 1)]
    Exhausted,
}

/// A TCP port on 127.0.0.1 that no other reservation has, until this one is dropped.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _lock: File,
}

impl ReservedPort {
    /// Any free port.
    pub fn any() -> Result<Self, PortError> {
        let start = u16::try_from(RandomState::new().hash_one(0) % u64::from(COUNT)).unwrap_or(0);
        for step in 0..COUNT {
            match Self::exactly(FIRST + (start + step) % COUNT) {
                Err(PortError::Taken(_)) => {}
                other => return other,
            }
        }
        Err(PortError::Exhausted)
    }

    /// This very port, or [`PortError::Taken`].
    pub fn exactly(number: u16) -> Result<Self, PortError> {
        let lock = lock_file(number)?;
        if lock.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err() {
            return Err(PortError::Taken(number));
        }
        Ok(Self { number, _lock: lock })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn lock_file(number: u16) -> Result<File, PortError> {
    let folder = std::env::temp_dir().join(format!("fleet-ports-{}", nix::unistd::getuid()));
    let open = || {
        fs::create_dir_all(&folder)?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(number.to_string()))
    };
    open().map_err(|source| PortError::Locks {
        folder: folder.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_refused_to_others_until_it_is_dropped() {
        let mine = ReservedPort::any().expect("a free port");
        let number = mine.number();
        assert!(matches!(ReservedPort::exactly(number), Err(PortError::Taken(n)) if n == number));
        drop(mine);
        assert_eq!(
            ReservedPort::exactly(number).expect("free again").number(),
            number
        );
    }

    #[test]
    fn a_port_where_somebody_listens_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let number = listener.local_addr().expect("address").port();
        let refused = ReservedPort::exactly(number).expect_err("it is in use");
        assert!(refused.to_string().contains("is taken"), "{refused}");
    }
}
