//! Programs and firmware that the virtual rig needs on this machine.

use std::path::{Path, PathBuf};

use crate::error::Fault;

const FOLDERS: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"];

/// Code and pristine variables that belong together, best first.
const FIRMWARE: [(&str, &str); 2] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// Absolute paths of what was found.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) qemu: PathBuf,
    pub(crate) qemu_img: PathBuf,
    pub(crate) qemu_nbd: PathBuf,
    pub(crate) socat: PathBuf,
    pub(crate) firmware: Firmware,
}

/// The UEFI firmware: its code, and the variables that each machine starts with.
#[derive(Debug, Clone)]
pub(crate) struct Firmware {
    pub(crate) code: PathBuf,
    pub(crate) vars: PathBuf,
}

impl Tools {
    /// Finds all of them, or names the first that is missing.
    pub(crate) fn find() -> Result<Self, Fault> {
        Ok(Self {
            qemu: tool("qemu-system-x86_64")?,
            qemu_img: tool("qemu-img")?,
            qemu_nbd: tool("qemu-nbd")?,
            socat: tool("socat")?,
            firmware: firmware()?,
        })
    }
}

fn tool(name: &'static str) -> Result<PathBuf, Fault> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .ok_or(Fault::MissingTool { tool: name })
}

fn firmware() -> Result<Firmware, Fault> {
    FIRMWARE
        .iter()
        .map(|(code, vars)| Firmware {
            code: code.into(),
            vars: vars.into(),
        })
        .find(|firmware| firmware.code.exists() && firmware.vars.exists())
        .ok_or(Fault::MissingFirmware {
            path: FIRMWARE[0].0.into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = tool("no-such-emulator").expect_err("it does not exist");
        assert!(
            error.to_string().starts_with("no-such-emulator is not installed"),
            "{error}"
        );
    }
}
