// MonitorWorld: a broker, a fitted pipeline on real rows, and what the monitors wrote.

import EventContracts
import Foundation
import Kafka
import PipelineContract
import ProcessControl
import TestSupport
import Testing
import Transforms

/// Rows of the housing data as features, with predictions and labels beside them. Not safe across threads; used by one
/// test at a time.
final class MonitorWorld {
    private let directory: TemporaryDirectory
    private let broker: ChildProcess
    private let servers: String
    private var children: [String: ChildProcess] = [:]
    private let pipeline: Pipeline
    private let pipelinePath: String
    private let transform: FeatureTransform
    private let producer: Producer
    private var published = 0
    private(set) var south: [Row] = []
    private(set) var north: [Row] = []

    struct Row {
        var values: [Float]
        var label: Int
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    init() async throws {
        directory = try TemporaryDirectory()
        pipelinePath = "\(Self.root)/topics/housing"
        var pipeline = try PipelineLoader.load(path: pipelinePath)
        // The reference: rows of the south in random order, which stand still; the rest of them is the stream.
        let lines = try Self.lines()
        var generator = Noise(seed: 3)
        let southern = lines.south.shuffled(using: &generator)
        let northern = lines.north.shuffled(using: &generator)
        let reference = directory.file("reference.csv")
        try ([lines.header] + southern.prefix(3_000)).joined(separator: "\n").write(
            toFile: reference, atomically: true, encoding: .utf8)
        let artifacts = directory.file("artifacts")
        try FileManager.default.createDirectory(atPath: artifacts, withIntermediateDirectories: true)
        let fit = try await Self.run(
            "penstock", ["fit", pipelinePath, "--reference", reference, "--artifacts", artifacts])
        #expect(fit.status == .exited(0), "\(fit.text)")
        #expect(!fit.text.contains("changes within the reference"), "\(fit.text)")
        pipeline.features.transformPath = "\(artifacts)/transform.json"
        self.pipeline = pipeline
        transform = try FeatureTransform(loadingFor: pipeline)

        let address = directory.file("address")
        let topics = pipeline.topicSettings.flatMap {
            ["--topic", "\($0.topic):\($0.partitions)\($0.isCompacted ? ":cleanup.policy=compact" : "")"]
        }
        broker = try TestProgram.start(
            "embedded-broker",
            ["--data", directory.file("broker"), "--address-file", address, "--auto-create", "false"] + topics,
            outputPath: directory.file("broker.log"))
        servers = try #require(
            try await TestProgram.waitFor { TestProgram.contents(of: address) }, "the broker did not start")
        producer = try Producer(
            configuration: try KafkaConfiguration.producerDefaults(bootstrapServers: servers, clientID: "test"))
        south = try rows(of: lines.header, Array(southern.dropFirst(3_000)), "south")
        north = try rows(of: lines.header, northern, "north")
    }

    func stop() {
        for child in children.values { child.stop(graceMilliseconds: 10_000) }
        broker.stop(graceMilliseconds: 10_000)
    }

    // MARK: - Rows

    /// Labelled lines of the data by side of latitude 35.
    private static func lines() throws -> (header: String, south: [String], north: [String]) {
        let text = try String(contentsOfFile: "\(root)/topics/housing/data/reference.csv", encoding: .utf8)
        let lines = text.split(whereSeparator: \.isNewline).map(String.init)
        let header = try #require(lines.first)
        let columns = header.split(separator: ",")
        let latitude = try #require(columns.firstIndex(of: "Latitude"))
        func isSouth(_ line: String) -> Bool {
            Double(line.split(separator: ",", omittingEmptySubsequences: false)[latitude]).map { $0 < 35 } ?? true
        }
        return (header, lines.dropFirst().filter(isSouth), lines.dropFirst().filter { !isSouth($0) })
    }

    private func rows(of header: String, _ lines: [String], _ name: String) throws -> [Row] {
        let path = directory.file("\(name).csv")
        try ([header] + lines).joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
        let table = try ReferenceTable(
            path: path, schema: pipeline.input.schema, features: pipeline.features, label: .onlyOther)
        var columns = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &columns, rejections: &rejections)
        let count = transform.featureCount
        return columns.sources.enumerated().map { row, source in
            Row(
                values: Array(columns.values[row * count..<(row + 1) * count]), label: Int(table.labels[source]))
        }
    }

    /// Hourly events.
    func time(_ event: Int) -> Int64 { 1_600_000_000_000_000 + Int64(event) * 3_600_000_000 }

    /// Writes features, predictions (right in 85 of 100) and labels.
    func publish(_ rows: some Collection<Row>) throws {
        let topics = pipeline.topics
        let indices = try [topics.features, topics.predictions, topics.labels].map { try producer.registerTopic($0) }
        let none = [UInt8](repeating: 0, count: transform.featureCount)
        let empty: [UInt8] = []
        let encoder = FeatureRecordEncoder(featureCount: transform.featureCount)
        let writer = PredictionWriter(model: pipeline.model.name, modelVersion: "1")
        var failure: KafkaError?
        for row in rows {
            let event = published
            published += 1
            let identifier = EventID(high: UInt64(time(event) / 1_000) << 16 | 0x8000, low: 1 << 63 | UInt64(event))
            let prefix = RecordPrefix(
                kind: .features, eventID: identifier, eventTime: time(event), publishTime: time(event),
                ingestTime: time(event), stageTime: time(event), inputOffset: Int64(event), inputPartition: 0,
                payloadHash: 0, contractHash: transform.contractHash, trace: nil, isIdentifiedByPublisher: false)
            var records: [[UInt8]] = [[], [], []]
            encoder.append(
                prefix: prefix, source: empty.span.bytes, id: empty.span.bytes, values: row.values.span,
                imputed: none.span, outliers: none.span, to: &records[0])
            let predicted = event % 20 < 3 ? 1 - row.label : row.label
            writer.append(
                Prediction(score: predicted == 1 ? 0.8 : 0.2, label: predicted, imputed: 0, outliers: 0),
                prefix: prefix, source: empty.span.bytes, id: empty.span.bytes, entity: nil, predictedAt: time(event),
                to: &records[1])
            LabelRecord(
                eventID: identifier, label: Int32(row.label), labelTime: time(event), publishTime: time(event),
                ingestTime: time(event), inputOffset: Int64(event), inputPartition: 0
            ).append(to: &records[2])
            let key = Array("\(event)".utf8)
            for (index, record) in zip(indices, records) {
                try producer.produce(topic: index, key: key.span.bytes, value: record.span.bytes)
            }
        }
        try producer.flush(timeoutMilliseconds: 20_000) { failure = failure ?? $0.error }
        if let failure { throw failure }
    }

    // MARK: - Processes

    func start(_ program: String) throws {
        children[program] = try TestProgram.start(
            program,
            [
                "--pipeline", pipelinePath, "--artifacts", directory.file("artifacts"), "--bootstrap-servers", servers,
                "--health-port", "0", "--instance", "test",
            ], outputPath: directory.file("\(program)-\(published).log"))
    }

    func kill(_ program: String) throws {
        let removed = children.removeValue(forKey: program)
        let child = try #require(removed)
        #expect(child.exitStatus == nil, "\(program) ended by itself: \(logs())")
        child.kill()
    }

    func penstock(_ arguments: [String]) async throws -> (status: ChildProcess.ExitStatus, text: String) {
        try await Self.run(
            "penstock", arguments + ["--bootstrap-servers", servers],
            environment: ["PENSTOCK_PIPELINE": pipelinePath])
    }

    func logs() -> String {
        children.keys.map { program in
            let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []
            return names.filter { $0.hasPrefix(program) }.sorted().compactMap {
                TestProgram.contents(of: directory.file($0)).map { String($0.suffix(1_500)) }
            }.joined(separator: "\n")
        }.joined(separator: "\n")
    }

    private static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:]
    ) async throws -> (status: ChildProcess.ExitStatus, text: String) {
        let directory = try TemporaryDirectory()
        let output = directory.file("output")
        let child = try TestProgram.start(program, arguments, environment: environment, outputPath: output)
        defer { child.kill() }
        let status = try #require(
            try await TestProgram.waitFor(timeoutMilliseconds: 60_000) { child.exitStatus }, "\(program) does not end")
        return (status, TestProgram.contents(of: output) ?? "")
    }

    // MARK: - What they wrote

    private func records(_ topic: String) throws -> [[UInt8]] {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "test", clientID: "test")
        try configuration.set("auto.offset.reset", "earliest")
        try configuration.set("enable.partition.eof", "true")
        try configuration.set("fetch.wait.max.ms", "10")
        let consumer = try Consumer(configuration: configuration)
        let partition = KafkaPartition(topic: topic, partition: 0)
        try consumer.assign([(partition, KafkaOffset.beginning)])
        var values: [[UInt8]] = []
        let deadline = ContinuousClock.now + .seconds(15)
        while ContinuousClock.now < deadline {
            let polled = consumer.pollMessages(maximum: 1_000, timeoutMilliseconds: 50) { message in
                if let value = message.value { values.append(value) }
            }
            if case .error(let error, _, _) = polled.event, error.code == .partitionEnd { return values }
        }
        throw KafkaError(code: .timedOut, message: "\(topic) could not be read to its end")
    }

    func alerts() throws -> [AlertRecord] {
        try records(pipeline.topics.alerts).compactMap {
            try CloudEvent<AlertRecord>.decode($0, types: [AlertRecord.type])?.data
        }
    }

    func requests() throws -> [RetrainingRequest] {
        try records(pipeline.topics.retraining).compactMap { try RetrainingRequest.decode($0) }
    }

    /// Ids of everything on `monitoring`, `alerts` and `retraining`.
    func identities() throws -> [String] {
        struct Head: Decodable { var id: String }
        return try [pipeline.topics.monitoring, pipeline.topics.alerts, pipeline.topics.retraining].flatMap { topic in
            try records(topic).map { "\(topic) \(try RecordJSON.decode(Head.self, from: $0).id)" }
        }
    }

    /// Waits until the drift monitor has reported the window of labels that ends with the last event.
    func waitForMonitoring(of events: Int) async throws {
        let wanted = time(events - 150)
        let found: Bool? = try await TestProgram.waitFor(timeoutMilliseconds: 90_000) {
            let newest = try records(pipeline.topics.monitoring).compactMap {
                try CloudEvent<MonitoringReport>.decode($0, types: MonitoringReport.types)?.data.watermark.microseconds
            }.max()
            return newest ?? 0 >= wanted ? true : nil
        }
        #expect(found == true, "the drift monitor does not advance: \(logs())")
    }
}

/// SplitMix64.
private struct Noise: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
