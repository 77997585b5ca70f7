//! Which machine an image is for.

use std::fmt;

/// A kind of machine. Profiles differ in kernel and console only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Any x86-64 machine with UEFI firmware.
    #[value(name = "amd64-uefi")]
    Amd64Uefi,
    /// An x86-64 virtual machine: a small kernel without hardware drivers, console on the first serial port.
    #[value(name = "amd64-vm")]
    Amd64Vm,
}

impl Profile {
    /// Debian's name of the architecture.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64Uefi | Self::Amd64Vm => "amd64",
        }
    }

    /// Package of the kernel.
    #[must_use]
    pub fn kernel_package(self) -> &'static str {
        match self {
            Self::Amd64Uefi => "linux-image-amd64",
            Self::Amd64Vm => "linux-image-cloud-amd64",
        }
    }

    /// Kernel options that name the consoles; the last one is `/dev/console`.
    #[must_use]
    pub fn console_options(self) -> &'static str {
        match self {
            Self::Amd64Uefi => "console=tty0",
            Self::Amd64Vm => "console=tty0 console=ttyS0,115200",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64Uefi => "amd64-uefi",
            Self::Amd64Vm => "amd64-vm",
        })
    }
}
