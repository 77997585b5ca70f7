//! `get`: lists, single things, and each change of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::args::{Format, GetArgs, Kind};
use super::client::{Client, encoded};
use super::error::{CtlError, Exit};
use super::stream::follow;
use super::table::{self, Cell, age, counts, device_tone, pair_tone, plain, toned};
use super::terminal::safe;
use super::{Context, Terminal, json};
use crate::api::types::{DeploymentList, DeviceList, ListQuery, PairQuery};
use crate::fleet::view::{
    DeploymentSummary, DeploymentView, DeviceSummary, DeviceView, PairView, RecoveryView,
};
use crate::manifest::{self, Metadata};

/// Least width of a column while watching: later rows may be wider than the first ones.
const MIN_WATCH_WIDTH: usize = 12;

/// One line of a list: its name, its columns, and all of it.
struct Item {
    name: String,
    cells: Vec<Cell>,
    /// What is compared to tell a change: the age is not, since it always changes.
    value: Value,
}

pub(super) fn run(args: &GetArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    if !args.watch {
        let (items, partial) = fetch(args, context)?;
        // While something may yet come, nobody is told that there is nothing.
        let tables = matches!(args.output, Format::Table | Format::Wide);
        if partial.is_none() || !(items.is_empty() && tables) {
            print(args, &items, context.terminal)?;
        }
        return partial.map_or(Ok(()), |why| Err(incomplete(args, items.len(), &why)));
    }
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut widths: Option<Vec<usize>> = None;
    let names: &[&str] = match args.kind {
        Kind::Devices => &["device", "device-gone", "pair"],
        Kind::Deployments => &["deployment", "deployment-gone", "pair"],
        Kind::Pairs => &["pair", "pair-gone"],
    };
    follow(context, names, |context| {
        let (items, partial) = fetch(args, context)?;
        if let Some(why) = &partial {
            context
                .terminal
                .note(&format!("fleetctl: the operator is recovering: {why}"))?;
        }
        // What a partial view lacks may yet come.
        let gone: Vec<String> = seen
            .keys()
            .filter(|name| partial.is_none() && items.iter().all(|item| item.name != **name))
            .cloned()
            .collect();
        let new: Vec<&Item> = items
            .iter()
            .filter(|item| seen.get(&item.name) != Some(&item.value))
            .collect();
        changes(args, &new, &mut widths, context.terminal)?;
        for name in gone {
            seen.remove(&name);
            context.terminal.line(&format!("{name}   gone"))?;
        }
        for item in new {
            seen.insert(item.name.clone(), item.value.clone());
        }
        Ok(())
    })
}

/// The items, and why they may not be all of them.
fn fetch(args: &GetArgs, context: &mut Context<'_>) -> Result<(Vec<Item>, Option<String>), CtlError> {
    let now = (context.now)();
    let wide = args.output == Format::Wide;
    let (items, recovery) = match args.kind {
        Kind::Devices => devices(args, &context.client, now, wide)?,
        Kind::Deployments => deployments(args, &context.client, now, wide)?,
        Kind::Pairs => pairs(args, &context.client, now, wide)?,
    };
    let partial = recovery.filter(|recovery| !recovery.converged || !recovery.connected);
    let why = partial.map(|recovery| {
        let detail = recovery.detail.as_deref().map(safe);
        detail.unwrap_or_else(|| "what is missing may yet come".to_owned())
    });
    Ok((items, why))
}

/// A list that a script must not take for the whole.
fn incomplete(args: &GetArgs, known: usize, why: &str) -> CtlError {
    let what = match args.kind {
        Kind::Devices => "devices",
        Kind::Deployments => "deployments",
        Kind::Pairs => "pairs",
    };
    let what = match known {
        0 => format!("{what}: none is known yet"),
        _ => format!("{what}: these may not be all, or not as they are now"),
    };
    CtlError::new(Exit::Recovering, what, why).next("try again in a few seconds, or stay with --watch")
}

type Items = (Vec<Item>, Option<RecoveryView>);

fn query(args: &GetArgs) -> ListQuery {
    ListQuery {
        l: args.labels.clone(),
        state: args.state,
        phase: args.phase,
        ..ListQuery::default()
    }
}

fn devices(args: &GetArgs, client: &Client, now: DateTime<Utc>, wide: bool) -> Result<Items, CtlError> {
    if let Some(name) = &args.name {
        let view: DeviceView =
            client.get(&format!("device/{name}"), &format!("/devices/{}", encoded(name)))?;
        let cells = device_cells(&view.summary, now, wide);
        return Ok((vec![item(name, cells, &view)], None));
    }
    let mut query = query(args);
    let mut items = Vec::new();
    loop {
        let list: DeviceList = client.list("devices", "/devices", &query)?;
        items.extend(
            list.items
                .iter()
                .map(|device| item(&device.id, device_cells(device, now, wide), device)),
        );
        query.after = list.next;
        if query.after.is_none() {
            return Ok((items, Some(list.recovery)));
        }
    }
}

fn deployments(args: &GetArgs, client: &Client, now: DateTime<Utc>, wide: bool) -> Result<Items, CtlError> {
    if let Some(name) = &args.name {
        let view = deployment(client, name)?;
        let cells = deployment_cells(&view.summary, now, wide);
        return Ok((vec![item(name, cells, &view)], None));
    }
    let mut query = query(args);
    let mut items = Vec::new();
    loop {
        let list: DeploymentList = client.list("deployments", "/deployments", &query)?;
        for summary in &list.items {
            let cells = deployment_cells(summary, now, wide);
            items.push(if args.output == Format::Yaml && !args.watch {
                item(&summary.name, cells, &deployment(client, &summary.name)?)
            } else {
                item(&summary.name, cells, summary)
            });
        }
        query.after = list.next;
        if query.after.is_none() {
            return Ok((items, Some(list.recovery)));
        }
    }
}

pub(super) fn deployment(client: &Client, name: &str) -> Result<DeploymentView, CtlError> {
    client.get(
        &format!("deployment/{name}"),
        &format!("/deployments/{}", encoded(name)),
    )
}

/// Pairs of one page.
const PAIRS_PAGE: usize = 2_000;

fn pairs(args: &GetArgs, client: &Client, now: DateTime<Utc>, wide: bool) -> Result<Items, CtlError> {
    let named = |view: &PairView| {
        item(
            &format!("{}/{}", view.deployment, view.device),
            pair_cells(view, now, wide),
            view,
        )
    };
    if let Some((deployment, device)) = args.name.as_deref().and_then(|name| name.split_once('/')) {
        return Ok((vec![named(&pair(client, deployment, device)?)], None));
    }
    let mut query = PairQuery {
        deployment: args.name.clone(),
        l: args.labels.clone(),
        phase: args.phase,
        state: args.state,
        limit: Some(PAIRS_PAGE),
        ..PairQuery::default()
    };
    let mut views = Vec::new();
    let recovery = loop {
        let page = client.pairs(&query)?;
        views.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            break page.recovery;
        }
    };
    if let (Some(name), true) = (&args.name, views.is_empty()) {
        // Nothing of it, or no such deployment.
        deployment(client, name)?;
    }
    views.sort_by(|a, b| (&a.deployment, a.state, &a.device).cmp(&(&b.deployment, b.state, &b.device)));
    Ok((views.iter().map(named).collect(), Some(recovery)))
}

pub(super) fn pair(client: &Client, deployment: &str, device: &str) -> Result<PairView, CtlError> {
    let path = format!("/deployments/{}/devices/{}", encoded(deployment), encoded(device));
    client.get(&format!("pair/{deployment}/{device}"), &path)
}

fn item<T: Serialize>(name: &str, cells: Vec<Cell>, view: &T) -> Item {
    let mut value = serde_json::to_value(view).expect("views have string keys only");
    if let Value::Object(fields) = &mut value {
        // A heartbeat each 15 s is no change that a person wants to read.
        fields.remove("last_heartbeat_at");
        fields.remove("heartbeat");
    }
    Item {
        name: name.to_owned(),
        cells,
        value,
    }
}

fn head(kind: Kind, wide: bool) -> Vec<&'static str> {
    let mut head = match kind {
        Kind::Devices => vec!["NAME", "STATE", "CONTAINERS", "PROBLEMS", "FOR"],
        Kind::Deployments => vec!["NAME", "RUNNING", "CONTAINERS", "GENERATION", "CHANGED"],
        Kind::Pairs => vec!["NAME", "STATE", "CAUSE", "GENERATION", "FOR"],
    };
    if wide {
        head.extend(match kind {
            Kind::Devices => ["LABELS", "ARCH", "AGENT"].as_slice(),
            Kind::Deployments => ["SELECTOR", "IMAGE"].as_slice(),
            Kind::Pairs => ["DEVICE", "IMAGE", "UNIT"].as_slice(),
        });
    }
    head
}

fn device_cells(device: &DeviceSummary, now: DateTime<Utc>, wide: bool) -> Vec<Cell> {
    let problems = if device.problem_count == 0 {
        plain("-")
    } else {
        toned(device.problem_count.to_string(), table::Tone::Warn)
    };
    let mut cells = vec![
        plain(&device.id),
        toned(device.state.as_str(), device_tone(device.state)),
        counts(&device.pairs),
        problems,
        age(device.since, now),
    ];
    if wide {
        cells.extend([
            plain(labels(&device.labels)),
            plain(&device.arch),
            plain(&device.agent_version),
        ]);
    }
    cells
}

fn deployment_cells(deployment: &DeploymentSummary, now: DateTime<Utc>, wide: bool) -> Vec<Cell> {
    let mut containers = counts(&deployment.pairs);
    if deployment.problem_count > 0 {
        containers = toned("cannot be read", table::Tone::Bad);
    }
    let name = if deployment.deleted {
        format!("{} (deleted)", deployment.name)
    } else {
        deployment.name.clone()
    };
    let mut cells = vec![
        plain(name),
        plain(format!("{}/{}", deployment.pairs.well(), deployment.pairs.total)),
        containers,
        plain(deployment.generation.to_string()),
        age(Some(deployment.changed_at), now),
    ];
    if wide {
        cells.extend([plain(&deployment.selector), plain(&deployment.image)]);
    }
    cells
}

fn pair_cells(pair: &PairView, now: DateTime<Utc>, wide: bool) -> Vec<Cell> {
    let mut cells = vec![
        plain(format!("{}/{}", pair.deployment, pair.device)),
        toned(state_word(pair), pair_tone(pair.state)),
        plain(pair.cause.as_ref().map_or("", |cause| cause.kind.as_str())),
        plain(generation(pair)),
        age(pair.since, now),
    ];
    if wide {
        cells.extend([
            plain(pair.device_state.as_str()),
            plain(pair.desired_image.as_deref().unwrap_or_default()),
            plain(pair.running.as_ref().map_or("", |running| running.unit.as_str())),
        ]);
    }
    cells
}

/// `Pulling 3/7`, `Unknown: Verifying`, `Failed`.
pub(super) fn state_word(pair: &PairView) -> String {
    match (&pair.progress, &pair.phase) {
        (Some(progress), _) if progress.layers_total > 0 => format!(
            "{} {}/{}",
            pair.state, progress.layers_done, progress.layers_total
        ),
        (_, Some(phase)) if pair.state == crate::fleet::view::PairState::Unknown => {
            format!("Unknown: {phase}")
        }
        _ => pair.state.to_string(),
    }
}

/// `7`, or `6 -> 7` while the device has not taken up what is desired.
pub(super) fn generation(pair: &PairView) -> String {
    let runs = pair
        .running
        .as_ref()
        .map(|running| running.generation)
        .or(pair.observed_generation);
    match (runs, pair.desired_generation) {
        (Some(runs), Some(desired)) if runs != desired => format!("{runs} -> {desired}"),
        (_, Some(desired)) => desired.to_string(),
        (Some(runs), None) => format!("{runs} -> removed"),
        (None, None) => String::new(),
    }
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

fn print(args: &GetArgs, items: &[Item], terminal: &mut Terminal) -> Result<(), CtlError> {
    match args.output {
        Format::Table | Format::Wide => {
            if items.is_empty() {
                return terminal.note(nothing(args));
            }
            let head = head(args.kind, args.output == Format::Wide);
            let rows: Vec<_> = items.iter().map(|item| item.cells.clone()).collect();
            let text = table::render(terminal, &head, &rows);
            terminal.print(&text)
        }
        Format::Json => {
            let values: Vec<&Value> = items.iter().map(|item| &item.value).collect();
            let text = match (&args.name, values.as_slice()) {
                (Some(_), [one]) if !is_many(args) => json::pretty(one),
                _ => json::pretty(&values),
            };
            terminal.line(&text)
        }
        Format::Yaml => {
            let documents: Vec<String> = items.iter().map(|item| yaml(args.kind, &item.value)).collect();
            terminal.print(&documents.join("---\n"))
        }
        Format::Name => {
            let names: String = items
                .iter()
                .map(|item| format!("{}/{}\n", kind_word(args.kind), item.name))
                .collect();
            terminal.print(&names)
        }
    }
}

/// A deployment's pairs are a list even when the deployment is named.
fn is_many(args: &GetArgs) -> bool {
    args.kind == Kind::Pairs && !args.name.as_deref().is_some_and(|name| name.contains('/'))
}

/// A deployment as a manifest that can be applied again, anything else as the API gives it.
fn yaml(kind: Kind, value: &Value) -> String {
    let view = (kind == Kind::Deployments)
        .then(|| serde_json::from_value::<DeploymentView>(value.clone()).ok())
        .flatten();
    let spec = view
        .as_ref()
        .and_then(|view| Some((view, view.spec.as_ref()?, view.summary.name.parse().ok()?)));
    match spec {
        Some((view, spec, name)) => {
            let metadata = Metadata {
                name,
                labels: view.summary.labels.clone(),
                generation: Some(view.summary.generation),
            };
            let status =
                serde_json::json!({"selected": view.summary.selected, "containers": view.summary.pairs});
            manifest::to_yaml(&metadata, spec, Some(status))
        }
        None => manifest::render(value),
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Devices => "device",
        Kind::Deployments => "deployment",
        Kind::Pairs => "pair",
    }
}

fn nothing(args: &GetArgs) -> &'static str {
    let filtered = args.labels.is_some() || args.state.is_some() || args.phase.is_some();
    match args.kind {
        _ if filtered => "Nothing matches.",
        Kind::Devices => {
            "No device has reported yet: one shows up within a minute of its first boot. Without hardware: fleet-sim run --devices 3"
        }
        Kind::Deployments | Kind::Pairs => {
            "Nothing is deployed. To begin: fleetctl example > web.yaml, then fleetctl apply -f web.yaml"
        }
    }
}

/// New and changed things, one a line, below a head that is printed once.
fn changes(
    args: &GetArgs,
    new: &[&Item],
    widths: &mut Option<Vec<usize>>,
    terminal: &mut Terminal,
) -> Result<(), CtlError> {
    match args.output {
        Format::Json => new
            .iter()
            .try_for_each(|item| terminal.line(&json::line(&item.value))),
        Format::Yaml => new
            .iter()
            .try_for_each(|item| terminal.print(&format!("---\n{}", yaml(args.kind, &item.value)))),
        Format::Name => new
            .iter()
            .try_for_each(|item| terminal.line(&format!("{}/{}", kind_word(args.kind), item.name))),
        Format::Table | Format::Wide => {
            let head = head(args.kind, args.output == Format::Wide);
            let rows: Vec<_> = new.iter().map(|item| item.cells.clone()).collect();
            if rows.is_empty() {
                return Ok(());
            }
            // Columns only ever widen, so that what stands above stays readable.
            let wanted = table::widths(&head, &rows)
                .into_iter()
                .map(|width| width.max(MIN_WATCH_WIDTH));
            let first = widths.is_none();
            let before = widths.take().unwrap_or_else(|| vec![0; head.len()]);
            let now: Vec<usize> = wanted
                .zip(before)
                .map(|(wanted, before)| wanted.max(before))
                .collect();
            let mut text = String::new();
            if first {
                text.push_str(&table::line(
                    terminal,
                    &head.iter().map(plain).collect::<Vec<_>>(),
                    &now,
                ));
            }
            rows.iter()
                .for_each(|row| text.push_str(&table::line(terminal, row, &now)));
            *widths = Some(now);
            terminal.print(&text)
        }
    }
}

/// Splits `DEPLOYMENT/DEVICE`.
///
/// # Errors
/// [`Exit::Usage`] for anything else.
pub(super) fn pair_name(name: &str) -> Result<(&str, &str), CtlError> {
    name.split_once('/').ok_or_else(|| {
        CtlError::new(
            Exit::Usage,
            format!("{name:?} names no pair"),
            "a pair is one deployment on one device",
        )
        .next("write DEPLOYMENT/DEVICE, such as web/pi-1")
    })
}
