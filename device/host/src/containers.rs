//! Signals to a container that runs, past systemd.
//!
//! systemd's own stop always ends in a kill. A container that must not be killed is asked this way instead, and the unit is
//! restarted only when it ended by itself.

use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::StopSignal;

use crate::exec::{Environment, ExecError, Tool, run};
use crate::names::container_name;

/// Longest time for podman to send a signal.
const WITHIN: Duration = Duration::from_secs(60);

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a container that is not there will not end"]
pub enum Signalled {
    /// The container's first process has it. Whether it listens is another matter.
    Sent,
    /// No container of the deployment runs.
    NotRunning,
}

/// Why a signal could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("podman could not send {signal} to the container of {deployment}", signal = signal.as_str())]
pub struct ContainersError {
    /// Whose container.
    pub deployment: DeploymentName,
    /// The signal.
    pub signal: StopSignal,
    /// How podman failed.
    #[source]
    pub source: ExecError,
}

/// Running containers.
pub trait Containers {
    /// Sends a signal to the main container of a deployment. May be repeated; one that is not there is told as such.
    ///
    /// # Errors
    /// [`ContainersError`] when podman itself fails; time can cure that.
    async fn signal(
        &self,
        deployment: &DeploymentName,
        signal: StopSignal,
    ) -> Result<Signalled, ContainersError>;
}

/// podman's containers.
#[derive(Debug, Clone)]
pub struct PodmanContainers {
    environment: Environment,
}

impl PodmanContainers {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }
}

/// podman's words for a container that is gone, was never there, or has ended.
const NOT_RUNNING: [&str; 3] = [
    "no such container",
    "can only kill running containers",
    "container state improper",
];

impl Containers for PodmanContainers {
    async fn signal(
        &self,
        deployment: &DeploymentName,
        signal: StopSignal,
    ) -> Result<Signalled, ContainersError> {
        let name = container_name(deployment);
        let args = ["kill", "--signal", signal.as_str(), &name];
        match run(&self.environment, Tool::Podman, &args, WITHIN).await {
            Ok(_) => Ok(Signalled::Sent),
            Err(error) if NOT_RUNNING.iter().any(|words| error.stderr.contains(words)) => {
                Ok(Signalled::NotRunning)
            }
            Err(source) => Err(ContainersError {
                deployment: deployment.clone(),
                signal,
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::podman;

    async fn signal(script: &str) -> Result<Signalled, ContainersError> {
        let (_dir, environment) = podman(script);
        let web = DeploymentName::new("web").unwrap();
        PodmanContainers::new(environment)
            .signal(&web, StopSignal::Usr1)
            .await
    }

    #[tokio::test]
    async fn the_signal_goes_to_the_deployments_own_container() {
        let sent = signal("[ \"$*\" = 'kill --signal SIGUSR1 fleet-web' ] || exit 125").await;
        assert_eq!(sent.unwrap(), Signalled::Sent);
    }

    #[tokio::test]
    async fn a_container_that_is_not_there_or_has_ended_is_told_as_such() {
        let said = [
            r#"Error: no container with name or ID "fleet-web" found: no such container"#,
            "Error: can only kill running containers. 8f3a is in state exited: container state improper",
        ];
        for words in said {
            let sent = signal(&format!("echo '{words}' >&2; exit 125")).await;
            assert_eq!(sent.unwrap(), Signalled::NotRunning, "{words}");
        }
    }

    #[tokio::test]
    async fn a_podman_that_fails_is_an_error_and_no_missing_container() {
        let error = signal("echo 'Error: database is locked' >&2; exit 125")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "podman could not send SIGUSR1 to the container of web"
        );
    }
}
