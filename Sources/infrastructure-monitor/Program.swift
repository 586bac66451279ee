// infrastructure-monitor: heartbeats, lag, dead letters and PostgreSQL in; reports and metrics of the infrastructure out.

import ArgumentParser
import EventContracts
import Foundation
import Logging
import Monitors
import Observability
import PipelineContract
import StageCommand
import StageRuntime
import Synchronization

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "infrastructure-monitor",
        abstract: "Watches processes, consumer lag, dead letters and PostgreSQL, and reports what is wrong.",
        discussion: """
            PostgreSQL is watched when PENSTOCK_POSTGRES holds a URL that may connect.

            Example: infrastructure-monitor --pipeline topics/housing --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "infrastructure", program: "infrastructure-monitor") {
            [$0.topics.telemetry]
        }
        return await MonitorMain.run(
            definition, options: options, outputTopics: { [$0.topics.monitoring] }, startsAtEnd: true, logic: makeLogic)
    }

    private func makeLogic(_ parts: StageParts) throws -> InfrastructureMonitor<KafkaAndPostgresProbe> {
        let url = ProcessInfo.processInfo.environment["PENSTOCK_POSTGRES"].flatMap { $0.isEmpty ? nil : $0 }
        let probe = try KafkaAndPostgresProbe(
            topics: parts.configuration.pipeline.topics, consumer: parts.configuration.settings.consumer,
            postgres: url)
        return InfrastructureMonitor(
            pipeline: parts.configuration.pipeline, probe: probe, observer: observer(parts.registry))
    }

    /// Keeps the lag metrics: per partition, and per group its sum and its longest time.
    private func observer(_ registry: MetricsRegistry) -> InfrastructureMonitor<KafkaAndPostgresProbe>.LagObserver {
        let groups = Mutex<[String: [Int32: (lag: Int64, milliseconds: Int64)]]>([:])
        return { partition, lag, milliseconds in
            registry.gauge(
                MetricNames.consumerGroupLag, partition.group, partition.topic, String(partition.partition)
            ).set(Double(lag))
            let (sum, longest) = groups.withLock { groups in
                groups[partition.group, default: [:]][partition.partition] = (lag, milliseconds)
                let all = groups[partition.group, default: [:]].values
                return (all.reduce(0) { $0 + $1.lag }, all.map(\.milliseconds).max() ?? 0)
            }
            registry.gauge(MetricNames.consumerGroupTotalLag, partition.group, partition.topic).set(Double(sum))
            registry.gauge(MetricNames.consumerGroupLagSeconds, partition.group, partition.topic)
                .set(Double(longest) / 1e3)
        }
    }
}
