// MetricsTests: instruments count right and the exposition is what Prometheus reads.

import Testing

@testable import Observability

@Suite("Metrics")
struct MetricsTests {
    @Test("The exposition is sorted, typed and cumulative")
    func exposition() {
        let registry = MetricsRegistry()
        let counted = MetricDefinition("b_total", "Things.", labels: ["stage", "topic"])
        registry.counter(counted, "s", "t2").add(3)
        registry.counter(counted, "s", "t1").add(1)
        registry.counter(counted, "s", "t1").add(1)
        registry.gauge(MetricDefinition("c", "A level.")).set(1.5)
        let histogram = registry.histogram(MetricDefinition("a_seconds", "Times."), bounds: [0.1, 1])
        histogram.observe(0.05)
        histogram.observe(0.1)
        histogram.observe(0.5, count: 2)
        histogram.observe(7)
        histogram.observe(.nan)
        #expect(
            registry.exposition() == """
                # HELP a_seconds Times.
                # TYPE a_seconds histogram
                a_seconds_bucket{le="0.1"} 2
                a_seconds_bucket{le="1"} 4
                a_seconds_bucket{le="+Inf"} 5
                a_seconds_sum 8.15
                a_seconds_count 5
                # HELP b_total Things.
                # TYPE b_total counter
                b_total{stage="s",topic="t1"} 2
                b_total{stage="s",topic="t2"} 3
                # HELP c A level.
                # TYPE c gauge
                c 1.5

                """)
    }

    @Test("Backslashes, quotes and line feeds are escaped as the format asks")
    func escaping() {
        let registry = MetricsRegistry()
        registry.gauge(MetricDefinition("g", "a \\ b\nc \"d\"", labels: ["l"]), "x\"y\\z\r\nw").set(-2)
        #expect(
            registry.exposition()
                == "# HELP g a \\\\ b\\nc \"d\"\n# TYPE g gauge\ng{l=\"x\\\"y\\\\z\r\\nw\"} -2\n")
    }

    @Test("Numbers are written as Prometheus parses them")
    func numbers() {
        let cases: [(Double, String)] = [
            (0, "0"), (-3, "-3"), (0.25, "0.25"), (.nan, "NaN"), (.infinity, "+Inf"), (-.infinity, "-Inf"),
            (1e14, "100000000000000"), (1e300, "1e+300"),
        ]
        for (value, text) in cases { #expect(PrometheusText.number(value) == text) }
    }

    @Test("The same labels give the same instrument; a removed one is gone from the exposition")
    func identity() {
        let registry = MetricsRegistry()
        let lag = MetricNames.consumerGroupLag
        let gauge = registry.gauge(lag, "g", "t", "0")
        #expect(gauge === registry.gauge(lag, "g", "t", "0"))
        #expect(gauge !== registry.gauge(lag, "g", "t", "1"))
        registry.remove(lag, "g", "t", "0")
        registry.remove(lag, "g", "t", "1")
        #expect(registry.exposition().isEmpty)
    }

    @Test("A collector runs before each exposition")
    func collector() {
        let registry = MetricsRegistry()
        let gauge = registry.gauge(MetricDefinition("age", "Age."))
        registry.addCollector { gauge.set(gauge.value + 1) }
        _ = registry.exposition()
        #expect(registry.exposition().hasSuffix("age 2\n"))
    }

    @Test("Counts from many tasks add up")
    func concurrency() async {
        let registry = MetricsRegistry()
        let counter = registry.counter(MetricNames.batches, "s")
        let histogram = registry.histogram(MetricNames.processSeconds, "s")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1_000 {
                        counter.add(1)
                        histogram.observe(.milliseconds(3))
                        _ = registry.counter(MetricNames.batches, "s")
                    }
                }
            }
        }
        #expect(counter.value == 8_000)
        #expect(histogram.snapshot.count == 8_000)
    }

    @Test("Percentiles are within one per cent of the sorted values")
    func percentiles() {
        var histogram = LatencyHistogram()
        #expect(histogram.value(atPercentile: 50) == 0)
        // A fixed linear congruential sequence, spread over six decades.
        var state: UInt64 = 42
        var values: [Int64] = []
        for _ in 0..<20_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            values.append(Int64(state >> 33) % [100, 10_000, 1_000_000, 100_000_000][Int(state >> 62)])
        }
        for value in values { histogram.record(value) }
        values.sort()
        for percentile in [0.1, 1, 25, 50, 90, 99, 99.9, 100] {
            let rank = max(1, Int((percentile / 100 * Double(values.count)).rounded(.up)))
            let exact = Double(values[rank - 1])
            let estimate = Double(histogram.value(atPercentile: percentile))
            #expect(abs(estimate - exact) <= max(1, exact * 0.01), "p\(percentile): \(estimate) for \(exact)")
        }
        #expect(histogram.count == 20_000)
        #expect(histogram.maximum == UInt64(values[values.count - 1]))
    }

    @Test("Merged histograms count like one; negative and huge values are kept in range")
    func merge() {
        var a = LatencyHistogram()
        var b = LatencyHistogram()
        a.record(-5)
        a.record(127)
        b.record(128)
        b.record(.max)
        b.record(1_000, count: 3)
        a.merge(b)
        #expect(a.count == 7)
        #expect(a.minimum == 0)
        #expect(a.maximum == UInt64(Int64.max))
        #expect(a.value(atPercentile: 1) == 0)
        #expect(a.value(atPercentile: 28) == 127)
        #expect(a.value(atPercentile: 42) == 128)
    }

    @Test("Every metric has a legal name, a help text and legal labels, and none is defined twice")
    func names() {
        let all = [
            MetricNames.recordsConsumed, MetricNames.recordsProduced, MetricNames.deadLetters,
            MetricNames.duplicates, MetricNames.rowsWritten, MetricNames.batches, MetricNames.batchRecords,
            MetricNames.processSeconds, MetricNames.deliverSeconds, MetricNames.queueSeconds, MetricNames.retries,
            MetricNames.restartSuspects, MetricNames.lostRangeRecords, MetricNames.rebalances,
            MetricNames.consumerGroupLag, MetricNames.assignedPartitions, MetricNames.pausedPartitions,
            MetricNames.recordsInFlight, MetricNames.processStartSeconds, MetricNames.buildInformation,
            MetricNames.loopHeartbeatAgeSeconds,
        ]
        #expect(Set(all.map(\.name)).count == all.count)
        for metric in all {
            #expect(metric.help.hasSuffix("."))
            for word in [metric.name] + metric.labels {
                #expect(word.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber || $0 == "_") }, "\(word)")
            }
        }
    }
}
