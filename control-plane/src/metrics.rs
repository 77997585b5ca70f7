//! Numbers for Prometheus. Gauges are read from the aggregate when somebody asks; counters live here.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::fleet::Fleet;
use crate::fleet::view::PairState;
use crate::store::BucketId;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
pub enum WriteOutcome {
    /// Stored.
    Done,
    /// Somebody else was first; read again.
    Conflict,
    /// No answer, or a refusal.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    bucket: &'static str,
    outcome: WriteOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBucket {
    bucket: &'static str,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    writes: Family<WriteLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    slow_watchers: Counter,
    watchers: Gauge,
    request_seconds: Latency,
}

#[derive(Debug, Clone)]
struct Latency(Histogram);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0005, 4.0, 8)))
    }
}

impl Metrics {
    /// A write ended.
    pub fn wrote(&self, bucket: BucketId, outcome: WriteOutcome) {
        self.writes
            .get_or_create(&WriteLabels {
                bucket: bucket.name(),
                outcome,
            })
            .inc();
    }

    /// A request was answered after `seconds`. `route` is the pattern and not the path, so that there are few of them.
    pub fn answered(&self, route: &str, method: &str, status: u16, seconds: f64) {
        let labels = RequestLabels {
            route: route.to_owned(),
            method: method.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.0.observe(seconds);
    }

    /// A watcher came (`1`) or went (`-1`).
    pub fn watcher(&self, by: i64) {
        self.watchers.inc_by(by);
    }

    /// A watcher was too slow and was let go.
    pub fn slow_watcher(&self) {
        self.slow_watchers.inc();
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render(&self, fleet: &Fleet) -> String {
        let mut registry = Registry::with_prefix("fleet");
        self.register_counters(&mut registry);
        register_fleet(&mut registry, fleet);
        let mut page = String::new();
        if text::encode(&mut page, &registry).is_err() {
            // Writing to a string does not fail; if it did, half a page would be worse than a word.
            page.clear();
            page.write_str("# cannot be rendered\n").ok();
        }
        page
    }

    fn register_counters(&self, registry: &mut Registry) {
        registry.register("store_writes", "Writes to KV by outcome", self.writes.clone());
        registry.register("api_requests", "Requests answered", self.requests.clone());
        registry.register_with_unit(
            "api_request_duration",
            "Time to answer, without streams",
            Unit::Seconds,
            self.request_seconds.0.clone(),
        );
        registry.register(
            "api_watchers",
            "Clients that watch at this moment",
            self.watchers.clone(),
        );
        registry.register(
            "api_slow_watchers",
            "Watchers let go since they were too slow",
            self.slow_watchers.clone(),
        );
    }
}

fn register_fleet(registry: &mut Registry, fleet: &Fleet) {
    let devices = Family::<Word, Gauge>::default();
    let counts = fleet.device_counts();
    for (state, count) in [
        ("Online", counts.online),
        ("Offline", counts.offline),
        ("Unknown", counts.unknown),
    ] {
        devices
            .get_or_create(&Word {
                state: state.to_owned(),
            })
            .set(count.cast_signed());
    }
    registry.register("devices", "Devices by state", devices);

    let pairs = Family::<Word, Gauge>::default();
    for state in PairState::ALL {
        let count = fleet.pair_counts().of(*state).cast_signed();
        pairs
            .get_or_create(&Word {
                state: state.to_string(),
            })
            .set(count);
    }
    registry.register("pairs", "Deployments on devices by state", pairs);

    let (behind, begun) = (
        Family::<OfBucket, Gauge>::default(),
        Family::<OfBucket, Gauge>::default(),
    );
    let recovery = fleet.recovery();
    for (bucket, view) in BucketId::ALL.into_iter().zip(&recovery.buckets) {
        let missing = if view.caught_up {
            0
        } else {
            view.target_revision.saturating_sub(view.revision)
        };
        let labels = OfBucket {
            bucket: bucket.name(),
        };
        behind.get_or_create(&labels).set(missing.cast_signed());
        begun.get_or_create(&labels).set(view.watches_begun.cast_signed());
    }
    registry.register(
        "watch_behind_revisions",
        "Revisions not read yet since the watch began",
        behind,
    );
    registry.register("watch_begun", "How often a watch was begun", begun);
    let flag = |value: bool| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::from(value));
        gauge
    };
    registry.register("converged", "Everything in KV was read", flag(recovery.converged));
    registry.register("nats_connected", "Connected to NATS", flag(recovery.connected));
    let last: Gauge = Gauge::default();
    last.set(recovery.last_event_at.map_or(0, |at| at.timestamp()));
    registry.register(
        "last_event_timestamp_seconds",
        "When KV last said something",
        last,
    );
}
