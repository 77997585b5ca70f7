//! What a deployment that was taken away left in podman.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_protocol::DeploymentName;

use crate::exec::{Environment, ExecError, Tool, run};
use crate::names::{container_name, init_container_name, volume_name};

/// Longest time for one call to podman; removing a volume of many files on a card takes a while.
const WITHIN: Duration = Duration::from_secs(120);

/// What is still there of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Containers, by name.
    pub containers: Vec<String>,
    /// Volumes, by name; those that were to be kept are not among them.
    pub volumes: Vec<String>,
}

impl Remains {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.volumes.is_empty()
    }
}

/// Why podman could not clear away.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// A call to podman failed.
    #[error("podman could not {operation} of {deployment}")]
    Podman {
        /// What was asked.
        operation: &'static str,
        /// Whose leftovers.
        deployment: DeploymentName,
        /// How it failed.
        #[source]
        source: ExecError,
    },
}

/// What a deployment that was taken away left in podman.
pub trait Leftovers {
    /// Removes the containers, those of its init containers too, and the volumes of a deployment, except the volumes in `keep` (names
    /// within the deployment), and says what is still there. `None`: it is not known which are to be kept, so
    /// all stay, and the answer names them. The unit is expected to be stopped and its
    /// files gone; a container that runs nevertheless is killed.
    ///
    /// # Errors
    /// [`LeftoversError`] when podman itself fails; a removal that podman refused shows in the answer.
    async fn remove(
        &self,
        deployment: &DeploymentName,
        keep: Option<&BTreeSet<String>>,
    ) -> Result<Remains, LeftoversError>;
}

/// podman's own containers and volumes.
#[derive(Debug, Clone)]
pub struct PodmanLeftovers {
    environment: Environment,
}

impl PodmanLeftovers {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }

    async fn podman(&self, args: &[&str]) -> Result<String, ExecError> {
        Ok(run(&self.environment, Tool::Podman, args, WITHIN).await?.stdout)
    }

    /// The deployment's containers that are there.
    async fn containers(&self, deployment: &DeploymentName) -> Result<Vec<String>, ExecError> {
        let (main, inits) = (container_name(deployment), init_container_name(deployment, ""));
        // The filter is a regular expression; of what ids are made of nothing means something in one.
        let filter = format!("name=^{main}(\\.init-.*)?$");
        let listed = self
            .podman(&[
                "ps",
                "--all",
                "--external",
                "--filter",
                &filter,
                "--format",
                "{{.Names}}",
            ])
            .await?;
        let ours = |name: &&str| **name == main || name.starts_with(&inits);
        Ok(listed.lines().filter(ours).map(str::to_owned).collect())
    }

    /// The volumes of the deployment that are not to be kept. All are listed and compared by prefix here:
    /// podman's own filter is a regular expression in some versions and a part of the name in others.
    async fn volumes(&self, prefix: &str, keep: Option<&BTreeSet<String>>) -> Result<Vec<String>, ExecError> {
        let listed = self.podman(&["volume", "ls", "--format", "{{.Name}}"]).await?;
        let ours = |line: &&str| line.strip_prefix(prefix).is_some_and(|name| !is_kept(keep, name));
        Ok(listed.lines().filter(ours).map(str::to_owned).collect())
    }
}

/// Whether a volume is known to be kept.
fn is_kept(keep: Option<&BTreeSet<String>>, name: &str) -> bool {
    keep.is_some_and(|keep| keep.contains(name))
}

impl Leftovers for PodmanLeftovers {
    async fn remove(
        &self,
        deployment: &DeploymentName,
        keep: Option<&BTreeSet<String>>,
    ) -> Result<Remains, LeftoversError> {
        let failed = |operation| {
            move |source| LeftoversError::Podman {
                operation,
                deployment: deployment.clone(),
                source,
            }
        };
        let prefix = volume_name(deployment, "");
        let containers = self
            .containers(deployment)
            .await
            .map_err(failed("list the containers"))?;
        // Refusals are not looked at here: what remains afterwards is what counts.
        for container in &containers {
            let _ = self
                .podman(&["rm", "--force", "--ignore", "--time", "10", container])
                .await;
        }
        for volume in self
            .volumes(&prefix, keep)
            .await
            .map_err(failed("list the volumes"))?
        {
            if keep.is_some() {
                let _ = self.podman(&["volume", "rm", &volume]).await;
            }
        }
        Ok(Remains {
            containers: self
                .containers(deployment)
                .await
                .map_err(failed("list the containers"))?,
            volumes: self
                .volumes(&prefix, keep)
                .await
                .map_err(failed("list the volumes"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::podman;

    /// A podman whose containers and volumes are files.
    const STORAGE: &str = r#"
        dir="${0%/*}/storage"
        case "$1 $2" in
            "rm --force") [ -e "$dir/stuck" ] || /bin/rm -f "$dir/container/$6" ;;
            "ps --all") /bin/ls "$dir/container" ;;
            "volume ls") /bin/ls "$dir/volume" ;;
            "volume rm") [ -e "$dir/stuck" ] && exit 2; /bin/rm "$dir/volume/$3" ;;
            *) echo "Error: unexpected $*" >&2; exit 125 ;;
        esac"#;

    fn storage(volumes: &[&str]) -> (tempfile::TempDir, PodmanLeftovers) {
        let (dir, environment) = podman(STORAGE);
        let make = |path: String| {
            let _ = crate::durable::replace(&dir.path().join("storage").join(path), b"", 0o600).unwrap();
        };
        for container in ["fleet-a", "fleet-a.init-b", "fleet-a-b", "fleet-ab.init-b"] {
            make(format!("container/{container}"));
        }
        for volume in volumes {
            make(format!("volume/{volume}"));
        }
        (dir, PodmanLeftovers::new(environment))
    }

    #[tokio::test]
    async fn container_and_volumes_go_and_those_of_others_and_kept_ones_stay() {
        let (dir, leftovers) = storage(&[
            "fleet-a.data",
            "fleet-a.keep",
            "fleet-a-b.c",
            "fleet-ab.c",
            "mine",
        ]);
        let name = DeploymentName::new("a").unwrap();
        let remains = leftovers
            .remove(&name, Some(&["keep".to_owned()].into()))
            .await
            .unwrap();
        assert!(remains.is_empty(), "{remains:?}");
        let mut left: Vec<_> = std::fs::read_dir(dir.path().join("storage/volume"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["fleet-a-b.c", "fleet-a.keep", "fleet-ab.c", "mine"]);
        let containers = std::fs::read_dir(dir.path().join("storage/container")).unwrap();
        let mut left: Vec<_> = containers.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["fleet-a-b", "fleet-ab.init-b"]);
    }

    #[tokio::test]
    async fn while_it_is_not_known_which_to_keep_every_volume_stays_and_is_told() {
        let (dir, leftovers) = storage(&["fleet-a.data", "fleet-a.keep"]);
        let name = DeploymentName::new("a").unwrap();
        let remains = leftovers.remove(&name, None).await.unwrap();
        assert!(remains.containers.is_empty(), "{remains:?}");
        assert_eq!(remains.volumes, ["fleet-a.data", "fleet-a.keep"]);
        let volumes = std::fs::read_dir(dir.path().join("storage/volume")).unwrap();
        assert_eq!(volumes.count(), 2);
    }

    #[tokio::test]
    async fn what_podman_would_not_remove_is_told() {
        let (dir, leftovers) = storage(&["fleet-a.data"]);
        let _ = crate::durable::replace(&dir.path().join("storage/stuck"), b"", 0o600).unwrap();
        let remains = leftovers
            .remove(&DeploymentName::new("a").unwrap(), Some(&BTreeSet::new()))
            .await
            .unwrap();
        assert_eq!(remains.containers, ["fleet-a", "fleet-a.init-b"]);
        assert_eq!(remains.volumes, ["fleet-a.data"]);
    }

    #[tokio::test]
    async fn a_podman_that_does_not_answer_is_an_error() {
        let (_dir, environment) = podman("echo 'Error: database is locked' >&2; exit 125");
        let error = PodmanLeftovers::new(environment)
            .remove(&DeploymentName::new("a").unwrap(), Some(&BTreeSet::new()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "podman could not list the containers of a");
    }
}
