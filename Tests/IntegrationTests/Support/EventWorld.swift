// EventWorld: what a test publishes: valid, damaged and repeated events, the same for the same seed.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Synchronization

@testable import PenstockCommand

struct EventWorld: Sendable {
    let plan: DemoPlan

    /// - Parameter count: valid events; 60 damaged ones of all kinds and 100 repeats come on top.
    init(_ pipeline: Pipeline, count: Int, seed: UInt64) throws {
        let file = "\(Artifacts.housing)/data/analysis.csv"
        let events = try EventFile(
            path: file, input: pipeline.input, template: try KeyTemplate("{Latitude}:{Longitude}")
        ).events.sorted { $0.time < $1.time }
        // The file has 8,232 events; more are the same ones with other ids.
        let wanted = (0..<count).map { index in
            let event = events[index % events.count]
            guard index >= events.count else { return event }
            let id = "\(event.id)-\(index / events.count)"
            return event.replacing("id", with: "\"\(id)\"", id: id)
        }
        plan = DemoPlan(
            events: wanted,
            encoder: EventEncoder(source: pipeline.input.identity?.source ?? "/test", type: "dev.penstock.test"),
            futureTime: "\(Calendar(identifier: .gregorian).component(.year, from: Date()) + 1)-12-31T00:00:00Z",
            seed: seed)
    }

    var count: Int { plan.items.count }

    /// Publishes the items of that range, in order, and returns where they went.
    /// - Parameters:
    ///   - rate: per second; 0 for as fast as they go.
    ///   - clockShiftMilliseconds: how far the publisher's clock, which gives the Kafka timestamps, is off.
    ///   - onProgress: told how many were sent, some times a second.
    func publish(
        _ range: Range<Int>? = nil, to stack: Stack, rate: Double = 0, clockShiftMilliseconds: Int64 = 0,
        onProgress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> [Publisher.Position] {
        let items = plan.items[range ?? 0..<count]
        let (servers, topic) = (stack.servers, stack.pipeline.topics.inputs)
        return try await onThread {
            var configuration = try KafkaConfiguration.producerDefaults(
                bootstrapServers: servers, clientID: "test-publisher")
            try configuration.set("statistics.interval.ms", "0")
            // A planted error that meets one of several requests on their way leaves a gap in the sequence, which a broker never
            // makes, and which ends an idempotent producer. The stages begin anew; a publisher cannot.
            try configuration.set("max.in.flight.requests.per.connection", "1")
            let publisher = try Publisher(configuration: configuration, topic: topic)
            guard clockShiftMilliseconds == 0 else {
                for item in items {
                    try publisher.send(
                        item.event,
                        timestampMilliseconds: Timestamp.microseconds / 1_000 + clockShiftMilliseconds)
                }
                try publisher.finish()
                return publisher.positions.compactMap { $0 }
            }
            do {
                try publisher.sendAll(count: items.count, rate: rate) {
                    items[items.startIndex + $0].event
                } onProgress: {
                    onProgress($0)
                }
            } catch {
                // A test that waits for its events would learn of it late or never.
                print("The test's publisher failed: \(error)")
                throw error
            }
            return publisher.positions.compactMap { $0 }
        }
    }
}
