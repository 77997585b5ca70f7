//! Ports of this machine's loopback that lead into a device.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::Fault;

/// A port of the device that this machine reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The port in the device.
    pub device_port: u16,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub host_port: Option<u16>,
}

/// The chosen ports. They are held until QEMU takes them over at the first power-on.
#[derive(Debug)]
pub(crate) struct Ports {
    pairs: Vec<(u16, u16)>,
    held: Vec<TcpListener>,
}

impl Ports {
    pub(crate) fn choose(forwards: &[Forward]) -> Result<Self, Fault> {
        let mut ports = Self {
            pairs: Vec::new(),
            held: Vec::new(),
        };
        for forward in forwards {
            let asked = forward.host_port.unwrap_or(0);
            let taken = |source| Fault::PortTaken { port: asked, source };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, asked)).map_err(taken)?;
            let port = listener.local_addr().map_err(taken)?.port();
            ports.pairs.push((port, forward.device_port));
            ports.held.push(listener);
        }
        Ok(ports)
    }

    /// Gives the ports free for QEMU: pairs of this machine's port and the device's.
    pub(crate) fn release(&mut self) -> &[(u16, u16)] {
        self.held.clear();
        &self.pairs
    }

    pub(crate) fn address_of(&self, device_port: u16) -> Option<SocketAddr> {
        let pair = self.pairs.iter().find(|(_, device)| *device == device_port);
        pair.map(|(host, _)| (Ipv4Addr::LOCALHOST, *host).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = holder.local_addr().expect("its address").port();
        let error = Ports::choose(&[Forward {
            device_port: 80,
            host_port: Some(port),
        }])
        .expect_err("it is taken");
        assert!(
            error
                .to_string()
                .starts_with(&format!("port {port} of 127.0.0.1 is taken")),
            "{error}"
        );
    }

    #[test]
    fn free_ports_differ_and_are_held_until_released() {
        let any = |device_port| Forward {
            device_port,
            host_port: None,
        };
        let mut ports = Ports::choose(&[any(80), any(81)]).expect("two ports");
        let (first, second) = (
            ports.address_of(80).expect("80"),
            ports.address_of(81).expect("81"),
        );
        assert_ne!(first, second);
        assert!(TcpListener::bind(first).is_err());
        ports.release();
        assert!(TcpListener::bind(first).is_ok());
        assert_eq!(ports.address_of(82), None);
    }
}
