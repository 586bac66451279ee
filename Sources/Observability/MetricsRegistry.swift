// MetricsRegistry: all instruments of a process and their exposition in the Prometheus text format.

import Synchronization

/// The instruments of a process. Making the same instrument twice returns the same object, so each is made once and kept;
/// updates touch only the instrument, never the registry.
public final class MetricsRegistry: Sendable {
    enum Instrument: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)

        var kind: String {
            switch self {
            case .counter: "counter"
            case .gauge: "gauge"
            case .histogram: "histogram"
            }
        }
    }

    struct Family: Sendable {
        var definition: MetricDefinition
        var kind: String
        /// By label values, in the definition's order of labels.
        var instruments: [[String]: Instrument]
    }

    /// `Content-Type` of `exposition()`.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private let families = Mutex<[String: Family]>([:])
    private let collectors = Mutex<[@Sendable () -> Void]>([])

    public init() {}

    /// - Parameter values: one value per label of the definition.
    public func counter(_ definition: MetricDefinition, _ values: String...) -> Counter {
        if case .counter(let counter) = instrument(definition, values, { .counter(Counter()) }) { return counter }
        preconditionFailure("metric \(definition.name) is not a counter")
    }

    /// - Parameter values: one value per label of the definition.
    public func gauge(_ definition: MetricDefinition, _ values: String...) -> Gauge {
        if case .gauge(let gauge) = instrument(definition, values, { .gauge(Gauge()) }) { return gauge }
        preconditionFailure("metric \(definition.name) is not a gauge")
    }

    /// - Parameter values: one value per label of the definition.
    public func histogram(
        _ definition: MetricDefinition, _ values: String..., bounds: [Double] = MetricBuckets.seconds
    ) -> Histogram {
        let made = instrument(definition, values) { .histogram(Histogram(bounds: bounds.sorted())) }
        if case .histogram(let histogram) = made { return histogram }
        preconditionFailure("metric \(definition.name) is not a histogram")
    }

    /// Takes an instrument out of the exposition, for instance the lag of a partition that went to another process.
    public func remove(_ definition: MetricDefinition, _ values: String...) {
        families.withLock { $0[definition.name]?.instruments[values] = nil }
    }

    /// Runs before each exposition, to set gauges that are only worth computing then.
    public func addCollector(_ collect: @escaping @Sendable () -> Void) {
        collectors.withLock { $0.append(collect) }
    }

    private func instrument(
        _ definition: MetricDefinition, _ values: [String], _ make: () -> Instrument
    ) -> Instrument {
        precondition(
            definition.labels.count == values.count,
            "metric \(definition.name) has labels \(definition.labels) but got values \(values)")
        let candidate = make()
        return families.withLock { families in
            var family =
                families[definition.name]
                ?? Family(definition: definition, kind: candidate.kind, instruments: [:])
            if let existing = family.instruments[values] { return existing }
            precondition(family.kind == candidate.kind, "metric \(definition.name) is a \(family.kind)")
            family.instruments[values] = candidate
            families[definition.name] = family
            return candidate
        }
    }

    /// Sum of a counter over its labels; 0 when it was never made.
    public func total(of definition: MetricDefinition) -> Double {
        let instruments = families.withLock { $0[definition.name]?.instruments ?? [:] }
        return instruments.values.reduce(0) { sum, instrument in
            guard case .counter(let counter) = instrument else { return sum }
            return sum + Double(counter.value)
        }
    }

    /// The figures in the Prometheus text format 0.0.4, metrics and label values in alphabetical order.
    public func exposition() -> String {
        for collect in collectors.withLock({ $0 }) { collect() }
        let families = families.withLock { $0 }
        var text = ""
        for name in families.keys.sorted() {
            guard let family = families[name], !family.instruments.isEmpty else { continue }
            family.write(to: &text)
        }
        return text
    }
}
