// Stack+Progress: how far the stages are, seen from outside, and the oracle's judgement.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import Oracle
import PipelineContract
import Postgres
import ProcessControl
import TestSupport
import Testing

extension Stack {
    /// Rows of the predictions table.
    func rowCount() throws -> Int {
        let table = "\(pipeline.sink.schema).\(pipeline.sink.table)"
        return try query("SELECT count(*) FROM \(table)")
    }

    /// Offsets of all partitions of a topic: its records, where neither transactions nor retention are at work.
    func recordCount(_ topic: String) throws -> Int64 {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "\(groupPrefix).count", clientID: "test-count")
        try configuration.set("statistics.interval.ms", "0")
        let consumer = try Consumer(configuration: configuration)
        let partitions = pipeline.topicSettings.first { $0.topic == topic }?.partitions ?? 0
        return try (0..<partitions).reduce(0) { sum, number in
            let partition = KafkaPartition(topic: topic, partition: Int32(number))
            return try sum + consumer.watermarks(partition, timeoutMilliseconds: 10_000).high
        }
    }

    func query(_ sql: String) throws -> Int {
        let connection = try postgres.connect()
        defer { connection.close() }
        return try connection.query(sql).value(Int.self, row: 0, column: 0)
    }

    /// Waits until each stage has finished what the stage before it wrote: the outcome of every input is there.
    ///
    /// A stage acknowledges only what is durable, so once a stage's offsets reach the end of its input, its output has
    /// its final end.
    /// - Parameter isSupervised: processes that fenced themselves are started again meanwhile.
    func waitUntilSettled(seconds: Int = 90, isSupervised: Bool = false) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        for stage in Stage.allCases {
            let watch = try GroupWatch(self, stage)
            let left = Int(ContinuousClock.now.duration(to: deadline) / .seconds(1))
            do {
                _ = try await wait(for: "end of \(stage.rawValue)'s work", seconds: max(1, left)) {
                    if isSupervised { try reviveFenced() }
                    do {
                        return try watch.isAtEnd() ? true : nil
                    } catch is KafkaError {
                        // The question itself may meet a fault that a test planted in the broker.
                        return nil
                    }
                }
            } catch let error as TestFailure {
                throw TestFailure("\((try? watch.description) ?? "")\n\(error)")
            }
        }
        let outbox = "\(pipeline.sink.schema).dead_letter_outbox"
        _ = try await wait(for: "empty outbox", seconds: 30) {
            try query("SELECT count(*) FROM \(outbox)") == 0 ? true : nil
        }
    }

    /// What a supervisor does: when a session ran out while the broker was away, librdkafka joins anew without its member id
    /// while a commit under the old one may be on its way. The coordinator takes them for two processes; the consumer
    /// says that it is fenced, ends with exit code 1, and is started again.
    func reviveFenced() throws {
        for process in processes
        where process.exitStatus == .exited(1) && process.log.contains("fenced by other consumer") {
            try process.start()
        }
    }

    /// Stops the consumers one after another in the order of the path; each must end with 0.
    func stopAll() async throws {
        for process in processes where process.processID != nil && process.exitStatus == nil {
            let status = try await onThread { process.stop() }
            guard status == .exited(0) else {
                throw TestFailure("\(process.stage.program) ended with \(String(describing: status))\n\(logTails)")
            }
        }
    }

    /// The judgement of the program `penstock-oracle`, and its exit code.
    func judge() async throws -> (report: OracleReport, exit: ChildProcess.ExitStatus?) {
        let artifacts = try Artifacts.folder()
        let path = "\(directory)/oracle.json"
        unlink(path)
        let child = try TestProgram.start(
            "penstock-oracle",
            [
                "--pipeline", directory, "--bootstrap-servers", servers, "--artifacts", artifacts, "--sink-group",
                group(of: .sink), "--group-prefix", groupPrefix, "--profile", profile, "--output", "json",
            ], environment: ["PENSTOCK_POSTGRES": postgres.url()], outputPath: path)
        let exit = try await onThread { child.wait(timeoutMilliseconds: 400_000) }
        let text = TestProgram.contents(of: path) ?? ""
        guard let report = try? JSONDecoder().decode(OracleReport.self, from: Data(text.utf8)) else {
            throw TestFailure("the oracle ended with \(String(describing: exit)): \(text)")
        }
        return (report, exit)
    }
}

extension Stack {
    /// The oracle finds exactly what must be there, so many rows among it.
    func expectContent(rows: Int, _ what: String = "") async throws {
        let (report, exit) = try await judge()
        #expect(report.isContent && exit == .exited(0), "\(what): \(report.text)\n\(logTails)")
        #expect(report.rows == rows)
    }
}

/// A group's offsets and its input's ends, asked without joining the group.
struct GroupWatch {
    private let consumer: Consumer
    private let stack: Stack
    private let stage: Stage
    private let partitions: [KafkaPartition]

    init(_ stack: Stack, _ stage: Stage) throws {
        self.stack = stack
        self.stage = stage
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: stack.servers, group: stack.group(of: stage), clientID: "test-watch")
        try configuration.set("statistics.interval.ms", "0")
        // The offsets inside a transaction may be seen before its records are: the end that counts is that of the log, which
        // holds them already, and not of what is committed.
        try configuration.set("isolation.level", "read_uncommitted")
        consumer = try Consumer(configuration: configuration)
        let topic = stage.inputTopic(of: stack.pipeline.topics)
        let count = stack.pipeline.topicSettings.first { $0.topic == topic }?.partitions ?? 0
        partitions = (0..<count).map { KafkaPartition(topic: topic, partition: Int32($0)) }
    }

    /// The next offset to process and the end of the log, by partition.
    func positions() throws -> [(next: Int64, end: Int64)] {
        let next = try nextOffsets()
        return try partitions.map { partition in
            let end = try consumer.watermarks(partition, timeoutMilliseconds: 10_000).high
            return (next[partition] ?? 0, end)
        }
    }

    /// First offset of the log, by partition.
    func starts() throws -> [Int64] {
        try partitions.map { try consumer.watermarks($0, timeoutMilliseconds: 10_000).low }
    }

    func isAtEnd() throws -> Bool { try positions().allSatisfy { $0.next >= $0.end } }

    var description: String {
        get throws {
            "\(stage.rawValue): " + (try positions().map { "\($0.next) of \($0.end)" }.joined(separator: ", "))
        }
    }

    /// The sink's offsets count in PostgreSQL, those of the others in the group.
    private func nextOffsets() throws -> [KafkaPartition: Int64] {
        guard stage == .sink else {
            return try consumer.committed(partitions, timeoutMilliseconds: 10_000).mapValues(\.offset)
        }
        let connection = try stack.postgres.connect()
        defer { connection.close() }
        let result = try connection.query(
            "SELECT partition, next_offset FROM \(stack.pipeline.sink.schema).consumer_offsets WHERE consumer_group = $1",
            [.text(stack.group(of: .sink))])
        var offsets: [KafkaPartition: Int64] = [:]
        for row in 0..<result.rowCount {
            let number = try result.value(Int32.self, row: row, column: 0)
            offsets[KafkaPartition(topic: partitions[0].topic, partition: number)] = try result.value(
                row: row, column: 1)
        }
        return offsets
    }
}
