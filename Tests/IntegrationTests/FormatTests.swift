// FormatTests: records that a stage cannot read or write, and stages that share a process.

import EventContracts
import Foundation
import Glibc
import Kafka
import LocalDeployment
import Oracle
import PipelineContract
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Formats and processes", .serialized) struct FormatTests {
        private func publisher(_ topic: String, _ stack: Stack) throws -> Publisher {
            var configuration = try KafkaConfiguration.producerDefaults(
                bootstrapServers: stack.servers, clientID: "test-publisher")
            try configuration.set("statistics.interval.ms", "0")
            return try Publisher(configuration: configuration, topic: topic)
        }

        private func letters(_ topic: String, _ stack: Stack) async throws -> [KcatRecord] {
            try await Kcat.read("\(topic).dlq", servers: stack.servers, directory: stack.directory)
        }

        @Test("A record too large for the broker, records of a later format version: dead letters that say why")
        func refused() async throws {
            var options = Stack.Options()
            options.topicSettings = ["features": "max.message.bytes=1500"]
            // Few records a batch, which the broker measures as a whole.
            options.stageSettings = [.transform: ["producer.batch.size=400"]]
            try await Stack.run(options) { stack in
                let world = try EventWorld(stack.pipeline, count: 300, seed: 81)
                _ = try await world.publish(0..<world.count / 2, to: stack)
                let inputs = try publisher(stack.pipeline.topics.inputs, stack)
                try inputs.send(Self.large)
                try inputs.finish()
                _ = try await world.publish(world.count / 2..<world.count, to: stack)
                try await stack.waitUntilSettled()
                let topics = stack.pipeline.topics
                let tooLarge = try await letters(topics.events, stack)
                #expect(tooLarge.map { $0.header("x-error-code") } == ["output_too_large"])
                let (report, _) = try await stack.judge()
                #expect(report.violationsByKind == ["valid-event-dead-lettered": 1], "\(report.text)")
                #expect(report.rows == 300)
                try await expectRefusals(of: stack)
                try await stack.stopAll()
            }
        }

        /// An event whose identity alone is larger than `features` takes.
        private static var large: OutgoingEvent {
            let payload =
                #"{"id":"large","timestamp":"2021-06-01T00:00:00Z","MedInc":2.5,"HouseAge":20,"AveRooms":5,"AveBedrms":1,"#
                + #""Population":500,"AveOccup":3,"Latitude":34,"Longitude":-118}"#
            return OutgoingEvent(
                key: Array("large".utf8), value: Array(payload.utf8),
                headers: [
                    .init("ce_specversion", "1.0"), .init("ce_id", String(repeating: "i", count: 3_000)),
                    .init("ce_source", "/large"), .init("ce_type", "test"), .init("content-type", "application/json"),
                ])
        }

        /// Records of the next format version in each internal topic, as a program of tomorrow might write them.
        private func expectRefusals(of stack: Stack) async throws {
            let topics = stack.pipeline.topics
            for topic in [topics.events, topics.features, topics.predictions] {
                let known = try await letters(topic, stack).count
                let records = try await Kcat.read(topic, servers: stack.servers, directory: stack.directory)
                let record = try #require(records.first)
                let value = try #require(record.value)
                let next =
                    topic == topics.predictions
                    ? Array(String(decoding: value, as: UTF8.self).replacing("\"v\":1,", with: "\"v\":2,").utf8)
                    : [2] + value.dropFirst()
                #expect(next != value)
                let publisher = try publisher(topic, stack)
                try publisher.send(OutgoingEvent(key: record.key, value: next))
                try publisher.finish()
                try await stack.waitUntilSettled()
                let found = try await letters(topic, stack)
                let letter = try #require(found.last)
                #expect(found.count == known + 1)
                #expect(letter.value == next)
                #expect(letter.header("x-error-code") == "unsupported_format_version")
                let message = letter.header("__connect.errors.exception.message") ?? ""
                #expect(message.contains("format version"), "\(message)")
            }
        }

        @Test("stages: [transform, infer] in pipeline.yaml: one process, no records in between, the same promise")
        func fused() async throws {
            var options = Stack.Options()
            options.pipelineLines = ["stages: [transform, infer]", ""]
            options.instances = [.inference: 2]
            try await Stack.run(options) { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 600, seed: 82)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 200) { sent.set($0) }
                for part in 1...2 {
                    _ = try await stack.wait(for: "events") { sent.value >= world.count * part / 3 ? true : nil }
                    let victim = stack.instances(of: .inference)[part - 1]
                    victim.kill()
                    try victim.start()
                }
                _ = try await positions
                try await stack.waitUntilSettled(seconds: 120)
                #expect(try stack.recordCount(stack.pipeline.topics.features) == 0)
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)\n\(stack.logTails)")
                #expect(report.rows == 600)
                // A second reader of the same records would be a mistake.
                let log = "\(stack.directory)/refused.log"
                let child = try TestProgram.start(
                    Stage.transform.program, ["--pipeline", stack.directory, "--bootstrap-servers", stack.servers],
                    outputPath: log)
                let status = try await onThread { child.wait(timeoutMilliseconds: 30_000) }
                #expect(status == .exited(2))
                #expect(TestProgram.contents(of: log)?.contains("within inference-consumer (key `stages`)") == true)
                try await stack.stopAll()
            }
        }
    }
}
