// LoopTests: labels, retraining, promotion and hot swap as real processes, killed at random.

import EventContracts
import Foundation
import Kafka
import PipelineContract
import ProcessControl
import Registry
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("The model's loop", .serialized) struct LoopTests {
        /// A network good enough to be beaten by one that knows the north, made from the southern reference.
        private func artifacts(_ stream: HousingStream, _ directory: TemporaryDirectory) async throws -> String {
            let reference = directory.file("reference.csv")
            try Data(stream.referenceCSV.utf8).write(to: URL(filePath: reference))
            for command in [["fit"], ["train", "--model", "dense", "--hidden", "16", "--epochs", "6"]] {
                let log = directory.file("\(command[0]).log")
                let child = try TestProgram.start(
                    "penstock",
                    [command[0], Artifacts.housing, "--reference", reference, "--artifacts", directory.path]
                        + command.dropFirst(), outputPath: log)
                let status = try await onThread { child.wait(timeoutMilliseconds: 240_000) }
                guard status == .exited(0) else { throw TestFailure(TestProgram.contents(of: log) ?? command[0]) }
            }
            return directory.path
        }

        /// The versions that the predictions of each partition name, in the order of their offsets.
        private func versions(_ stack: Stack) throws -> (rows: Int, byPartition: [[String]]) {
            struct Prediction: Decodable {
                var event_id: String
                var model_version: String
            }
            var configuration = try KafkaConfiguration.consumerDefaults(
                bootstrapServers: stack.servers, group: "test-versions", clientID: "test-versions")
            try configuration.set("statistics.interval.ms", "0")
            let reader = try TopicReader(configuration: configuration)
            var seen: Set<String> = []
            var found: [Int32: [String]] = [:]
            try reader.readAll([stack.pipeline.topics.predictions]) { record in
                let prediction = try JSONDecoder().decode(Prediction.self, from: Data(record.value ?? []))
                // A batch that was repeated after a kill counts as it came first: that is the row in PostgreSQL.
                guard seen.insert(prediction.event_id).inserted else { return }
                found[record.partition, default: []].append(prediction.model_version)
            }
            return (seen.count, Array(found.values))
        }

        @Test(
            "One request, every process of the loop killed: one candidate, promoted once, no mixed predictions, no loss"
        )
        func killed() async throws {
            let stream = try HousingStream(
                kind: .expansion, folder: "\(Artifacts.housing)/data", seed: 1)
            let directory = try TemporaryDirectory()
            var options = Stack.Options()
            options.artifacts = try await artifacts(stream, directory)
            try await Stack.run(options) { stack in
                let loop = try LoopProcesses(stack, artifacts: directory.path)
                defer { loop.killAll() }
                try loop.startAll()
                let base = try await loop.wait(for: "base in production") { $0.production?.version }
                try await stack.waitUntilReady()

                // 1,200 events before the change of region, 600 after it, and the labels that are known by then.
                let change = try #require(stream.change)
                let live = stream.items.filter {
                    switch $0 {
                    case .event(let index): (change - 1_200..<change + 600).contains(index)
                    case .label(let index):
                        (change - 1_200..<change + 432).contains(stream.labels[index].event)
                    }
                }
                try await loop.publish(stream, live[...])
                try await stack.waitUntilSettled()
                try loop.request(
                    "r-1", from: stream.live[change].time, until: stream.live[change + 600].time, labelsMin: 200)

                // Each process of the loop dies twice while the candidate is made, judged and taken over.
                async let more: Void = loop.publish(
                    stream,
                    stream.items.filter {
                        if case .event(let i) = $0 { i >= change + 600 && i < change + 1_800 } else { false }
                    }[...],
                    rate: 200)
                for _ in 0..<2 {
                    for role in LoopProcesses.Role.allCases {
                        try await Task.sleep(for: .milliseconds(150))
                        loop.kill(role)
                        try loop.start(role)
                    }
                    stack[.inference].kill()
                    try stack[.inference].start()
                }
                let promoted = try await loop.wait(for: "promotion", seconds: 90) { registry in
                    registry.history.count == 2 ? registry.production?.version : nil
                }
                try await more
                let last = stream.items.filter {
                    if case .event(let i) = $0 { i >= change + 1_800 && i < change + 2_000 } else { false }
                }
                _ = try await stack.wait(for: "an inference instance that serves") {
                    stack[.inference].isReady ? true : nil
                }
                try await loop.publish(stream, last[...], rate: 100)
                try await stack.waitUntilSettled()

                let (registry, events) = try loop.registry()
                #expect(registry.versions.count == 2 && promoted != base)
                #expect(events.count { $0.type == .registered && $0.request == "r-1" } == 1, "\(loop.tails)")
                #expect(events.count { $0.type == .promoted && $0.version == promoted } == 1)
                let comparison = try #require(registry.production?.comparison)
                #expect(comparison.logLoss.lower > 0 && comparison.productionVersion == base)

                let (rows, byPartition) = try versions(stack)
                #expect(rows == 3_200)
                #expect(try stack.rowCount() == 3_200)
                for versions in byPartition {
                    // The base, then the candidate; never back.
                    let swaps = zip(versions, versions.dropFirst()).count { $0 != $1 }
                    #expect(swaps == 1 && versions.first == base && versions.last == promoted)
                }
                try await decisions(loop, stack, base: base, promoted: promoted)
            }
        }

        /// A signed rollback takes effect, one with a stranger's key does not.
        private func decisions(
            _ loop: LoopProcesses, _ stack: Stack, base: String, promoted: String
        ) async throws {
            let stranger = "\(stack.directory)/stranger.pem"
            try LoopProcesses.makeKey(stranger)
            let refused = try await loop.penstock(
                ["rollback", "--key", stranger, "--reason", "test", "--timeout", "3"])
            #expect(refused.status == .exited(1), "\(refused.text)")
            #expect(try loop.registry().registry.production?.version == promoted)
            let start = ContinuousClock.now
            let done = try await loop.penstock(["rollback", "--key", loop.keyPath, "--reason", "complaints"])
            #expect(done.status == .exited(0), "\(done.text)\n\(loop.tails)")
            #expect(try loop.registry().registry.production?.version == base)
            print("rollback by the command line: \(ContinuousClock.now - start)")
            let listed = try await loop.penstock(["list"])
            #expect(listed.text.contains("withdrawn") && listed.text.contains("production"), "\(listed.text)")
        }
    }
}
