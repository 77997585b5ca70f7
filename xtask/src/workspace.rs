//! Where the sources are, and which files belong to them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Tool;

/// The checkout that this program was built from.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the checkout.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in a workspace")?;
        let root = root.canonicalize().with_context(|| {
            format!(
                "the checkout that xtask was built from, {}, is gone: build it again",
                root.display()
            )
        })?;
        Ok(Self { root })
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that started us, in the root folder.
    pub fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Tool {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Tool::new(cargo, &self.root).args(args)
    }

    /// Where cargo puts what it builds.
    pub fn target_folder(&self) -> Result<PathBuf> {
        let text = self
            .cargo(["metadata", "--locked", "--no-deps", "--format-version", "1"])
            .text()?;
        let metadata: serde_json::Value =
            serde_json::from_str(&text).context("cannot read cargo's metadata")?;
        metadata["target_directory"]
            .as_str()
            .map(PathBuf::from)
            .context("cargo's metadata names no target folder")
    }

    /// Any other program, in the root folder.
    pub fn tool(&self, program: &str) -> Tool {
        Tool::new(program, &self.root)
    }

    /// Every file that is in git or would be added to it, relative to the root.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let text = self
            .tool("git")
            .args(listing)
            .text()
            .context("cannot list the files of the checkout")?;
        let files = text
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from);
        Ok(files.filter(|file| self.root.join(file).is_file()).collect())
    }
}
