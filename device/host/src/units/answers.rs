//! systemd's answers, read into facts.

use std::collections::HashMap;
use std::time::Duration;

use zbus::Variant;

use super::{ActiveState, LoadState, UnitFacts, UnitsError};
use crate::names::InvocationId;

/// The answer to one `GetAll`.
pub(super) struct Answer<'a>(HashMap<&'a str, Variant<'a>>);

impl<'a> Answer<'a> {
    pub(super) fn read(body: &'a zbus::message::Body) -> Result<Self, UnitsError> {
        body.deserialize()
            .map(Self)
            .map_err(|error| malformed(error.to_string()))
    }

    fn get(&self, name: &str) -> Result<&Variant<'a>, UnitsError> {
        self.0
            .get(name)
            .ok_or_else(|| malformed(format!("{name} is missing")))
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, UnitsError> {
        match self.get(name)? {
            Variant::Str(text) => Ok(text.as_str()),
            other => Err(malformed(format!("{name} is {other:?}"))),
        }
    }

    /// A time stamp of `CLOCK_MONOTONIC`.
    fn since_boot(&self, name: &str) -> Result<Duration, UnitsError> {
        match self.get(name)? {
            Variant::U64(micros) => Ok(Duration::from_micros(*micros)),
            other => Err(malformed(format!("{name} is {other:?}"))),
        }
    }

    fn job_pending(&self) -> bool {
        match self.0.get("Job") {
            Some(Variant::Structure(job)) => !matches!(job.fields().first(), Some(Variant::U32(0)) | None),
            _ => false,
        }
    }
}

pub(super) fn malformed(problem: String) -> UnitsError {
    UnitsError::Malformed {
        operation: "GetAll",
        problem,
    }
}

/// The answer to one `Get`.
pub(super) fn read_property(body: &zbus::message::Body) -> Result<Variant<'_>, UnitsError> {
    body.deserialize()
        .map_err(|error: zbus::Error| UnitsError::Malformed {
            operation: "Get",
            problem: error.to_string(),
        })
}

pub(super) fn invocation(value: &Variant<'_>) -> Result<Option<InvocationId>, UnitsError> {
    let Variant::Array(bytes) = value else {
        return Err(malformed("InvocationID is no array".to_owned()));
    };
    let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte).ok()).collect();
    Ok(InvocationId::from_bytes(&bytes))
}

pub(super) fn facts(
    load_state: LoadState,
    unit: &Answer<'_>,
    service: Option<&Answer<'_>>,
) -> Result<UnitFacts, UnitsError> {
    let sub_state = unit.text("SubState")?.to_owned();
    let state_change_monotonic = unit.since_boot("StateChangeTimestampMonotonic")?;
    let number = |name: &str| match service.and_then(|service| service.0.get(name)) {
        Some(Variant::I32(number)) => *number,
        _ => 0,
    };
    let n_restarts = match service.and_then(|service| service.0.get("NRestarts")) {
        Some(Variant::U32(count)) => *count,
        _ => 0,
    };
    let result = match service {
        Some(service) => service.text("Result")?.to_owned(),
        None => "success".to_owned(),
    };
    let main = |name: &str| match service.and_then(|service| service.0.get(name)) {
        Some(Variant::U64(micros)) => Duration::from_micros(*micros),
        _ => Duration::ZERO,
    };
    // The pause between two tries counts from the change into that state; `auto-restart-queued` is after it.
    let next_restart = match service.and_then(|service| service.0.get("RestartUSecNext")) {
        Some(Variant::U64(micros)) if sub_state == "auto-restart" => {
            Some(state_change_monotonic.saturating_add(Duration::from_micros(*micros)))
        }
        _ => None,
    };
    Ok(UnitFacts {
        load_state,
        active_state: ActiveState::from(unit.text("ActiveState")?),
        sub_state,
        result,
        invocation_id: invocation(unit.get("InvocationID")?)?,
        n_restarts,
        exec_main_code: number("ExecMainCode"),
        exec_main_status: number("ExecMainStatus"),
        exec_main_start: main("ExecMainStartTimestampMonotonic"),
        exec_main_exit: main("ExecMainExitTimestampMonotonic"),
        state_change_monotonic,
        active_enter: unit.since_boot("ActiveEnterTimestampMonotonic")?,
        active_exit: unit.since_boot("ActiveExitTimestampMonotonic")?,
        inactive_enter: unit.since_boot("InactiveEnterTimestampMonotonic")?,
        next_restart,
        condition_result: !matches!(unit.0.get("ConditionResult"), Some(Variant::Bool(false))),
        job_pending: unit.job_pending(),
    })
}
