//! What Prometheus reads at `/metrics`.
//!
//! A request on the hot path touches only counters that were looked up beforehand.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::Store;

/// Upper bounds of the latency histogram, in seconds: from a memory hit to the default deadline.
const LATENCY_BOUNDS_S: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

/// All metrics of one node. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    bytes_in: Counter,
    bytes_out: Counter,
}

/// One method's metrics, looked up once.
#[derive(Clone)]
pub(crate) struct MethodMetrics {
    metrics: Metrics,
    method: &'static str,
    ok: Counter,
    latency: Histogram,
}

/// Reads the store's own counters whenever somebody asks for the metrics.
#[derive(Debug)]
struct StoreCollector(Store);

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let stats = self.0.stats();
        let counters = [
            ("store_operations", "Operations on registers", stats.operations),
            ("store_commits", "Group commits: writes and syncs of the log", stats.commits),
            ("store_log_bytes", "Bytes appended to the log", stats.log_bytes),
            ("store_checkpoints", "Checkpoints written", stats.checkpoints),
            ("store_integrity_errors", "Stored values with a wrong checksum", stats.integrity_errors),
            ("store_disk_full", "Writes that found no room", stats.disk_full),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let pending = ConstGauge::new(i64::try_from(stats.pending_log_bytes).unwrap_or(i64::MAX));
        let help = "Log bytes that are not checkpointed yet";
        let kind = MetricType::Gauge;
        pending.encode(encoder.encode_descriptor("store_pending_log_bytes", help, None, kind)?)
    }
}

/// Counts one down when dropped.
pub(crate) struct InFlight(Gauge<i64, AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Empty ones.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        let requests = Family::default();
        let latency: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BOUNDS_S));
        let (in_flight, connections) = (Gauge::default(), Gauge::default());
        let (bytes_in, bytes_out) = (Counter::default(), Counter::default());
        registry.register("requests", "Requests answered, by method and code", requests.clone());
        registry.register("request_seconds", "Time from a request's headers to its answer", latency.clone());
        registry.register("requests_in_flight", "Requests being answered now", in_flight.clone());
        registry.register("client_connections", "Connections on the client port now", connections.clone());
        registry.register(
            "object_bytes_in",
            "Bytes of object bodies received from clients",
            bytes_in.clone(),
        );
        registry.register("object_bytes_out", "Bytes of object bodies sent to clients", bytes_out.clone());
        let registry = Mutex::new(registry);
        let inner = Inner { registry, requests, latency, in_flight, connections, bytes_in, bytes_out };
        Self { inner: Arc::new(inner) }
    }

    /// Lets another module register its own metrics; names get the prefix `holdfast_`.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.inner.registry.lock());
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.inner.registry.lock()).expect("writing to a String cannot fail");
        text
    }

    /// Adds what the store has done and holds.
    pub fn register_store(&self, store: Store) {
        self.inner.registry.lock().register_collector(Box::new(StoreCollector(store)));
    }

    /// Counts bytes of bodies that came in.
    pub(crate) fn count_bytes_in(&self, bytes: usize) {
        self.inner.bytes_in.inc_by(bytes as u64);
    }

    /// Counts bytes of bodies that went out.
    pub(crate) fn count_bytes_out(&self, bytes: usize) {
        self.inner.bytes_out.inc_by(bytes as u64);
    }

    /// One more request is being answered, until the guard is dropped.
    pub(crate) fn begin_request(&self) -> InFlight {
        self.inner.in_flight.inc();
        InFlight(self.inner.in_flight.clone())
    }

    /// One more connection is open, until the guard is dropped.
    pub(crate) fn begin_connection(&self) -> InFlight {
        self.inner.connections.inc();
        InFlight(self.inner.connections.clone())
    }

    pub(crate) fn method(&self, method: &'static str) -> MethodMetrics {
        let ok = self.inner.requests.get_or_create(&RequestLabels { method, code: "OK" }).clone();
        let latency = self.inner.latency.get_or_create(&MethodLabels { method }).clone();
        MethodMetrics { metrics: self.clone(), method, ok, latency }
    }
}

impl MethodMetrics {
    /// Counts one answer. `code` is from a short, fixed list: each makes a time series.
    pub(crate) fn answered(&self, code: &'static str, seconds: f64) {
        if code == "OK" {
            self.ok.inc();
        } else {
            let labels = RequestLabels { method: self.method, code };
            self.metrics.inner.requests.get_or_create(&labels).inc();
        }
        self.latency.observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_was_counted() {
        let metrics = Metrics::new();
        let put = metrics.method("Put");
        put.answered("OK", 0.002);
        put.answered("NOT_FOUND", 0.002);
        let guard = metrics.begin_request();
        let text = metrics.encode();
        assert!(text.contains("holdfast_requests_total{method=\"Put\",code=\"OK\"} 1"), "{text}");
        assert!(text.contains("code=\"NOT_FOUND\"} 1"), "{text}");
        assert!(text.contains("holdfast_requests_in_flight 1"), "{text}");
        drop(guard);
        assert!(metrics.encode().contains("holdfast_requests_in_flight 0"));
    }
}
