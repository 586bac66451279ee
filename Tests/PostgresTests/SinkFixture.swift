// SinkFixture: a migrated database, deliveries on it and batches for them.

import Cryptography
import EventContracts
import Logging
import Observability
import PipelineContract
import Postgres
import StageRuntime
import Synchronization
import TestSupport

@testable import SinkStage

/// What a fake broker received; shared between the deliveries of a test.
final class Letters: Sendable {
    private let received = Mutex<[DeadLetterRecord]>([])
    /// How many of the next records fail.
    private let failures = Mutex(0)

    var records: [DeadLetterRecord] { received.withLock { $0 } }

    func failNext(_ count: Int) { failures.withLock { $0 = count } }

    func receive(_ record: DeadLetterRecord) -> Bool {
        let isFailing = failures.withLock { failures in
            defer { failures = max(0, failures - 1) }
            return failures > 0
        }
        if !isFailing { received.withLock { $0.append(record) } }
        return !isFailing
    }
}

struct FakePublisher: DeadLetterPublisher {
    var letters: Letters
    private var waiting: [(UInt64, Bool)] = []

    init(_ letters: Letters) {
        self.letters = letters
    }

    mutating func open(letterTopics: [String]) {}

    mutating func publish(_ record: DeadLetterRecord, of origin: LetterOrigin, tag: UInt64) -> Bool {
        waiting.append((tag, letters.receive(record)))
        return true
    }

    mutating func poll(waitMilliseconds: Int) -> (arrived: [UInt64], failed: [UInt64]) {
        defer { waiting = [] }
        return (waiting.filter(\.1).map(\.0), waiting.filter { !$0.1 }.map(\.0))
    }

    mutating func close() {}
}

struct FakeProbe: RecordProbe {
    var answer: ProbedRecord = .expired
    mutating func record(topic: String, partition: Int32, offset: Int64) -> ProbedRecord { answer }
}

/// One event as the pipeline would have predicted it.
struct TestEvent {
    var id: String
    var source = "/test"
    /// Milliseconds since the Unix epoch.
    var time: Int64 = 1_622_505_600_000
    var inputPartition: Int32 = 0
    var inputOffset: Int64
    var payload: UInt64 = 7
    var entity = "key"
    var label = 1

    init(_ number: Int64, time: Int64? = nil) {
        id = "event-\(number)"
        inputOffset = number
        self.time = time ?? 1_622_505_600_000 + number
    }

    var eventID: EventID { EventID(milliseconds: time, digest: SHA256.digest(of: Array("\(source)|\(id)".utf8))) }

    var json: [UInt8] {
        let prefix = RecordPrefix(
            kind: .features, eventID: eventID, eventTime: time * 1_000, publishTime: time * 1_000 + 1,
            ingestTime: time * 1_000 + 2, stageTime: time * 1_000 + 3, inputOffset: inputOffset,
            inputPartition: inputPartition, payloadHash: payload, contractHash: 0xabc, trace: nil,
            isIdentifiedByPublisher: true)
        var bytes: [UInt8] = []
        PredictionWriter(model: "m", modelVersion: "1").append(
            Prediction(score: 0.25, label: label, imputed: 0, outliers: 1), prefix: prefix,
            source: Array(source.utf8).span.bytes, id: Array(id.utf8).span.bytes,
            entity: Array(entity.utf8).span.bytes, predictedAt: time * 1_000 + 4, to: &bytes)
        return bytes
    }
}

struct SinkFixture {
    static let topic = "penstock.test.predictions"
    static let group = "penstock.test.sink"

    let postgres: TestPostgres
    let target: SinkTarget
    let letters = Letters()

    init(
        server: TestPostgres? = nil, span: String = "month", retention: Int64? = nil, ahead: Int = 0
    ) throws {
        postgres = try server ?? TestPostgres()
        target = SinkTarget(
            schema: "sink \"x\"", table: "housing predictions", span: .init(rawValue: span) ?? .month,
            partitionsAhead: ahead, retentionMilliseconds: retention, runtimeRole: TestPostgres.runtime,
            readerRole: TestPostgres.reader)
        try SinkSchema.migrate(postgres.connect(), target)
    }

    func options() -> PostgresDelivery.Options {
        var options = PostgresDelivery.Options(
            url: postgres.url(role: TestPostgres.runtime), target: target, lockMilliseconds: 200,
            statementMilliseconds: 5_000, idleInTransactionMilliseconds: 1_000)
        options.backoffMillisecondsMin = 1
        options.backoffMillisecondsMax = 5
        return options
    }

    /// An opened delivery.
    func delivery(
        _ change: (inout PostgresDelivery.Options) -> Void = { _ in }, cluster: String = "cluster-a",
        probe: ProbedRecord = .expired
    ) throws -> PostgresDelivery {
        var options = options()
        change(&options)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        var delivery = PostgresDelivery(
            options: options, publisher: FakePublisher(letters), probe: FakeProbe(answer: probe),
            registry: MetricsRegistry(), logger: logger)
        try delivery.open(
            DeliveryEnvironment(
                stage: "sink", group: Self.group, instance: "i", clusterID: cluster, inputTopics: [Self.topic]))
        return delivery
    }

    static func partition(_ number: Int32 = 0) -> TopicPartition { TopicPartition(topic: topic, partition: number) }

    /// As the runner does: asks for the position, begins there (or at 0) and gives it back.
    func start(_ delivery: inout PostgresDelivery, partitions: [Int32] = [0]) throws -> [Int32: Int64] {
        guard case .positions(let answers) = try delivery.startPositions(of: partitions.map(Self.partition)) else {
            throw Unexpected("no positions: \(delivery.obstacle ?? "")")
        }
        var positions: [Int32: Int64] = [:]
        var starts: [PartitionStart] = []
        for number in partitions {
            var stored: Int64?
            if case .at(let offset) = answers[Self.partition(number)] { stored = offset }
            positions[number] = stored ?? 0
            starts.append(
                PartitionStart(
                    partition: Self.partition(number), position: stored ?? 0, stored: stored, lostRange: nil))
        }
        guard try delivery.begin(starts) == .accepted else { throw Unexpected("begin was not accepted") }
        return positions
    }

    struct Unexpected: Error {
        var message: String
        init(_ message: String) {
            self.message = message
        }
    }

    /// A processed batch of raw values at consecutive offsets of one partition.
    static func batch(
        _ values: [[UInt8]?], from start: Int64, partition: Int32 = 0, sequence: Int = 1
    ) -> (SinkRows, ProcessedBatch) {
        var records = RecordBatch()
        for (index, value) in values.enumerated() {
            let key = Array("key".utf8)
            records.append(
                origin: .init(topicIndex: 0, partition: partition, offset: start + Int64(index)),
                timestampMilliseconds: 1_000 + start + Int64(index), key: key.span.bytes, value: value?.span.bytes)
        }
        records.seal()
        var processor = SinkProcessor()
        var rows = processor.makeOutput()
        processor.process(records, context: ProcessingContext(nowMicroseconds: 0, clusterID: "cluster-a"), into: &rows)
        let range = OffsetRange(
            partition: Self.partition(partition), start: start, end: start + Int64(values.count))
        return (rows, ProcessedBatch(records: records, ranges: [range], sequence: sequence))
    }

    static func batch(
        _ events: [TestEvent], from start: Int64, partition: Int32 = 0, sequence: Int = 1
    ) -> (SinkRows, ProcessedBatch) {
        batch(events.map(\.json), from: start, partition: partition, sequence: sequence)
    }

    /// Delivers as the runner does: offers the batch again until it is not "later", up to a bound.
    static func deliver(
        _ delivery: inout PostgresDelivery, _ batch: (SinkRows, ProcessedBatch), attemptsMax: Int = 100_000
    ) throws -> DeliveryAnswer {
        var answer = DeliveryAnswer.later(reason: "not offered")
        for _ in 0..<attemptsMax {
            answer = try delivery.deliver(batch.0, of: batch.1)
            guard case .later = answer else { return answer }
        }
        return answer
    }

    func count(_ table: String? = nil, where condition: String = "true") throws -> Int {
        let name = target.qualified(table ?? target.table)
        return try postgres.administrator().query("SELECT count(*) FROM \(name) WHERE \(condition)")
            .value(Int.self, row: 0, column: 0)
    }

    func nextOffset(_ partition: Int32 = 0) throws -> Int64? {
        try SinkOffsets.show(postgres.administrator(), target, group: Self.group)
            .first { $0.partition == partition }?.nextOffset
    }
}
