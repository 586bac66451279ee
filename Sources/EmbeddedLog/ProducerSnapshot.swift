// ProducerSnapshot: the producer table as the file `<offset>.snapshot`.

/// The state of all batches below the offset in the file's name.
enum ProducerSnapshot {
    private static let magic: UInt32 = 0x5053_5053  // "PSPS"
    private static let version: UInt16 = 1

    static func encode(_ table: ProducerTable) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendInteger(magic)
        bytes.appendInteger(version)
        bytes.appendInteger(UInt32(table.entries.count))
        for (producerID, entry) in table.entries.sorted(by: { $0.key < $1.key }) {
            bytes.appendInteger(producerID)
            bytes.appendInteger(entry.epoch)
            bytes.appendInteger(entry.coordinatorEpoch)
            bytes.appendInteger(entry.lastTimestamp)
            bytes.appendInteger(entry.transactionFirstOffset ?? -1)
            bytes.appendInteger(UInt8(entry.batches.count))
            for batch in entry.batches {
                bytes.appendInteger(batch.firstSequence)
                bytes.appendInteger(batch.lastSequence)
                bytes.appendInteger(batch.lastOffset)
                bytes.appendInteger(batch.offsetDelta)
                bytes.appendInteger(batch.timestamp)
            }
        }
        let checksum = unsafe Checksum.crc32c(bytes.span.bytes)
        bytes.appendInteger(checksum)
        return bytes
    }

    /// Nil if the bytes are damaged.
    static func decode(_ bytes: [UInt8]) -> ProducerTable? {
        guard bytes.count > 4 else { return nil }
        let body = bytes.count - 4
        let checksum = unsafe Checksum.crc32c(bytes.span.bytes.extracting(0..<body))
        guard unsafe bytes.span.bytes.integer(at: body, as: UInt32.self) == checksum else { return nil }
        var reader = ByteReader(bytes, to: body)
        guard reader.integer(as: UInt32.self) == magic, reader.integer(as: UInt16.self) == version,
            let count = reader.integer(as: UInt32.self)
        else { return nil }
        var table = ProducerTable()
        for _ in 0..<count {
            guard let producerID = reader.integer(as: Int64.self), let entry = entry(&reader) else { return nil }
            table.restore(producerID, entry)
        }
        return table
    }

    private static func entry(_ reader: inout ByteReader) -> ProducerTable.Entry? {
        guard let epoch = reader.integer(as: Int16.self), let coordinatorEpoch = reader.integer(as: Int32.self),
            let timestamp = reader.integer(as: Int64.self), let first = reader.integer(as: Int64.self),
            let count = reader.integer(as: UInt8.self)
        else { return nil }
        var entry = ProducerTable.Entry(
            epoch: epoch, coordinatorEpoch: coordinatorEpoch, lastTimestamp: timestamp,
            transactionFirstOffset: first < 0 ? nil : first)
        for _ in 0..<count {
            guard let firstSequence = reader.integer(as: Int32.self), let lastSequence = reader.integer(as: Int32.self),
                let lastOffset = reader.integer(as: Int64.self), let delta = reader.integer(as: Int32.self),
                let time = reader.integer(as: Int64.self)
            else { return nil }
            entry.batches.append(
                ProducerTable.Batch(
                    firstSequence: firstSequence, lastSequence: lastSequence, lastOffset: lastOffset,
                    offsetDelta: delta, timestamp: time))
        }
        return entry
    }
}
