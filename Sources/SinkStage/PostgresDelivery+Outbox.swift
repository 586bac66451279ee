// PostgresDelivery+Outbox: dead letters are committed with the batch and published from PostgreSQL.

import EventContracts
import Postgres
public import StageRuntime

/// Which record of the sink's input a dead letter stands for.
public struct LetterOrigin: Sendable, Hashable {
    public var partition: TopicPartition
    public var offset: Int64

    public init(partition: TopicPartition, offset: Int64) {
        self.partition = partition
        self.offset = offset
    }
}

/// Publishes dead letters and tells which of them arrived. Used from the stage's thread.
public protocol DeadLetterPublisher {
    /// Whether it is worth while to read the outbox.
    var isReady: Bool { get }

    mutating func open(letterTopics: [String]) throws(DeliveryFailure)

    /// Hands over one record. A partition's records come in the order of their origins, and none is left out. False: try
    /// later.
    mutating func publish(
        _ record: DeadLetterRecord, of origin: LetterOrigin, tag: UInt64
    ) throws(DeliveryFailure) -> Bool

    /// Waits at most that long; gives the tags of records that arrived and of those that did not.
    mutating func poll(waitMilliseconds: Int) -> (arrived: [UInt64], failed: [UInt64])

    mutating func close()
}

extension DeadLetterPublisher {
    public var isReady: Bool { true }
}

/// What is known of the outbox of the partitions in hand.
struct OutboxState {
    /// There may be rows that were not read yet.
    var isPending = false
    /// Ids handed to the publisher without an answer yet.
    var handedOver: Set<UInt64> = []
    /// Ids that arrived and are not deleted yet.
    var arrived: [UInt64] = []

    var hasWork: Bool { isPending || !handedOver.isEmpty || !arrived.isEmpty }
}

extension PostgresDelivery {
    private static let outboxColumns =
        "consumer_group, topic, partition, record_offset, error_code, error_message, letter_topic, letter_key,"
        + " letter_value, letter_headers"

    /// Inside the batch's transaction.
    func fillOutbox(
        _ letters: [OutputBatch.DeadLetter], of batch: RecordBatch, on connection: PostgresConnection
    ) throws(PostgresError) {
        guard !letters.isEmpty else { return }
        var writer = BinaryCopyWriter(columnCount: 10)
        func write(_ bytes: [UInt8]?) {
            if let bytes { writer.write(bytes: bytes) } else { writer.writeNull() }
        }
        for letter in letters {
            let origin = batch.origins[letter.source]
            let record = letterWriter.record(
                letter, of: batch, inputTopics: environment.inputTopics,
                nowMicroseconds: RuntimeTime.wallMilliseconds * 1_000)
            writer.beginRow()
            writer.write(environment.group)
            writer.write(environment.inputTopics[origin.topicIndex])
            writer.write(origin.partition)
            writer.write(origin.offset)
            writer.write(letter.code.rawValue)
            // Text in PostgreSQL cannot hold U+0000, which a message may quote from the record.
            writer.write(letter.message.replacing("\0", with: "\u{fffd}"))
            writer.write(record.topic)
            write(record.key)
            write(record.value)
            write(HeaderBlock.encode(record.headers))
        }
        let table = options.target.qualified("dead_letter_outbox")
        try connection.copy("COPY \(table) (\(Self.outboxColumns)) FROM STDIN (FORMAT binary)", from: writer)
    }

    public mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {
        if outbox.hasWork { try serveOutbox(waitMilliseconds: waitMilliseconds) }
        try maintain()
    }

    /// Takes answers, deletes what arrived, hands over the next rows. A row is deleted only after its letter arrived: after a
    /// crash in between it is handed over once more, and the publisher of the profile `exact` knows it again.
    mutating func serveOutbox(waitMilliseconds: Int) throws(DeliveryFailure) {
        if !outbox.handedOver.isEmpty {
            let answers = publisher.poll(waitMilliseconds: waitMilliseconds)
            outbox.arrived += answers.arrived
            outbox.handedOver.subtract(answers.arrived)
            outbox.handedOver.subtract(answers.failed)
            if !answers.failed.isEmpty { outbox.isPending = true }
        }
        guard outbox.handedOver.isEmpty, outbox.isPending || !outbox.arrived.isEmpty, let connection = try connected()
        else { return }
        do {
            try deleteArrived(on: connection)
            if outbox.isPending, publisher.isReady { try handOver(on: connection) }
            succeeded()
        } catch {
            _ = try setBack(error, "publish the dead-letter outbox")
        }
    }

    private mutating func deleteArrived(on connection: PostgresConnection) throws(PostgresError) {
        guard !outbox.arrived.isEmpty else { return }
        try connection.query(
            "DELETE FROM \(options.target.qualified("dead_letter_outbox")) WHERE id = ANY($1::int8[])",
            [Self.array(outbox.arrived.map { "\($0)" })])
        outbox.arrived = []
    }

    /// Only of partitions in hand: another instance publishes those of its own.
    private mutating func handOver(on connection: PostgresConnection) throws {
        let owned = progress.keys.sorted()
        let rows = try connection.query(
            """
            SELECT id, letter_topic, letter_key, letter_value, letter_headers, topic, partition, record_offset
            FROM \(options.target.qualified("dead_letter_outbox"))
            WHERE consumer_group = $1
                AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int4[]))
            ORDER BY topic, partition, record_offset LIMIT $4
            """,
            [
                .text(environment.group), Self.array(owned.map { "\"\($0.topic)\"" }),
                Self.array(owned.map { "\($0.partition)" }), .int(Int64(options.outboxRowsMax)),
            ])
        if rows.rowCount < options.outboxRowsMax { outbox.isPending = false }
        for row in 0..<rows.rowCount {
            let id = UInt64(try rows.value(Int64.self, row: row, column: 0))
            let record = DeadLetterRecord(
                topic: try rows.value(row: row, column: 1), key: try rows.optional(row: row, column: 2),
                value: try rows.optional(row: row, column: 3),
                headers: HeaderBlock.decode(try rows.value(row: row, column: 4)))
            let origin = LetterOrigin(
                partition: TopicPartition(
                    topic: try rows.value(row: row, column: 5), partition: try rows.value(row: row, column: 6)),
                offset: try rows.value(row: row, column: 7))
            guard try publisher.publish(record, of: origin, tag: id) else {
                outbox.isPending = true
                return
            }
            outbox.handedOver.insert(id)
        }
    }
}

/// Headers as one value: for each, length (u32, little-endian) and bytes of the name, then length (i32, -1 for null) and
/// bytes of the value.
enum HeaderBlock {
    static func encode(_ headers: [DeadLetterRecord.Header]) -> [UInt8] {
        var bytes: [UInt8] = []
        for header in headers {
            bytes.appendLittleEndian(UInt32(header.name.count))
            bytes += header.name
            bytes.appendLittleEndian(Int32(header.value?.count ?? -1))
            bytes += header.value ?? []
        }
        return bytes
    }

    /// Stops at the first byte that does not fit; what `encode` wrote always fits.
    static func decode(_ bytes: [UInt8]) -> [DeadLetterRecord.Header] {
        var headers: [DeadLetterRecord.Header] = []
        var position = 0
        func take(_ count: Int) -> [UInt8]? {
            guard count >= 0, position + count <= bytes.count else { return nil }
            defer { position += count }
            return Array(bytes[position..<position + count])
        }
        func length() -> Int? {
            guard let bytes = take(4) else { return nil }
            return Int(Int32(bitPattern: bytes.span.bytes.little(UInt32.self, at: 0)))
        }
        while position < bytes.count {
            guard let nameLength = length(), let name = take(nameLength), let valueLength = length() else { break }
            guard valueLength >= 0 else {
                headers.append(DeadLetterRecord.Header(name: name, value: nil))
                continue
            }
            guard let value = take(valueLength) else { break }
            headers.append(DeadLetterRecord.Header(name: name, value: value))
        }
        return headers
    }
}
