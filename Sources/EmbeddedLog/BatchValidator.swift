// BatchValidator: what a batch must be before it may enter the log.

/// Checks of a record set against the batch format and the topic's settings. Compressed batches are not looked into.
struct BatchValidator {
    let config: TopicConfig
    let origin: AppendOrigin
    let now: Int64

    /// The headers of the set's batches.
    ///
    /// - Throws: the error for the client if anything is wrong with any batch.
    func headers(of set: RawSpan) throws(LogError) -> [BatchHeader] {
        var headers: [BatchHeader] = []
        var position = 0
        while position < set.byteCount {
            let header = try header(set, at: position)
            headers.append(header)
            position += header.byteCount
            // As Kafka: a produce request carries one batch per partition.
            if origin == .client, position < set.byteCount {
                throw LogError(.invalidRecord, "a produce request holds one record batch per partition; this one more")
            }
        }
        guard !headers.isEmpty else { throw LogError(.invalidRecord, "the record set is empty") }
        return headers
    }

    private func header(_ set: RawSpan, at position: Int) throws(LogError) -> BatchHeader {
        let remaining = set.byteCount - position
        guard remaining >= 17 else { throw corrupt("\(remaining) bytes cannot be a record batch") }
        let magic: Int8 = set.integer(at: position + 16)
        guard magic == 2 else {
            throw LogError(
                magic == 0 || magic == 1 ? .unsupportedForMessageFormat : .corruptMessage,
                "record format \(magic); only format 2 is supported (Kafka 0.11 or later)")
        }
        guard remaining >= BatchHeader.size else { throw corrupt("\(remaining) bytes cannot be a record batch") }
        let header = BatchHeader(set, at: position)
        guard header.batchLength >= Int32(BatchHeader.size - BatchHeader.lengthPrefix), header.byteCount <= remaining
        else {
            throw corrupt("batch length \(header.batchLength) does not fit the \(remaining) bytes sent")
        }
        if origin == .client, header.byteCount > config.messageBytesMax {
            throw LogError(
                .messageTooLarge, "batch of \(header.byteCount) bytes; max.message.bytes is \(config.messageBytesMax)")
        }
        let covered = (position + BatchHeader.checksummedFrom)..<(position + header.byteCount)
        guard Checksum.crc32c(set.extracting(covered)) == header.checksum else {
            throw corrupt("the checksum does not match")
        }
        try checkFields(header)
        if origin == .client { try checkClient(header) }
        if !header.isControl, !header.isCompressed { try checkRecords(header, set, at: position) }
        return header
    }

    private func checkFields(_ header: BatchHeader) throws(LogError) {
        guard header.recordCount > 0, header.lastOffsetDelta >= 0,
            Int64(header.recordCount) == Int64(header.lastOffsetDelta) + 1
        else {
            throw LogError(
                .invalidRecord,
                "batch of \(header.recordCount) records with last offset delta \(header.lastOffsetDelta)")
        }
        guard header.codec <= 4 else { throw LogError(.invalidRecord, "unknown codec \(header.codec)") }
        guard header.isTransactional ? header.hasProducer : true else {
            throw LogError(.invalidRecord, "a transactional batch needs a producer id")
        }
        guard header.hasProducer ? header.producerEpoch >= 0 : true else {
            throw LogError(.invalidRecord, "producer epoch \(header.producerEpoch)")
        }
    }

    private func checkClient(_ header: BatchHeader) throws(LogError) {
        guard !header.isControl else { throw LogError(.invalidRecord, "clients may not write control batches") }
        guard !header.hasProducer || header.baseSequence >= 0 else {
            throw LogError(.invalidRecord, "sequence \(header.baseSequence) of an idempotent producer")
        }
        guard !config.usesAppendTime else { return }
        if let limit = config.timestampAfterMilliseconds, header.maxTimestamp > now.addingClamped(limit) {
            throw LogError(.invalidTimestamp, "timestamp \(header.maxTimestamp) is too far after \(now)")
        }
        if let limit = config.timestampBeforeMilliseconds, header.baseTimestamp < now.addingClamped(-limit) {
            throw LogError(.invalidTimestamp, "timestamp \(header.baseTimestamp) is too far before \(now)")
        }
    }

    /// The records fill the batch and have the offsets that its header says, or readers would stumble over it for ever.
    /// Compaction keeps the last value per key, so that there every record needs one.
    private func checkRecords(_ header: BatchHeader, _ set: RawSpan, at position: Int) throws(LogError) {
        var reader = RecordReader(header, batchStart: position)
        var index: Int32 = 0
        while let record = reader.next(set) {
            guard record.offsetDelta == index else {
                throw LogError(.invalidRecord, "record \(index) of a batch has offset delta \(record.offsetDelta)")
            }
            if record.key == nil, config.compacts {
                throw LogError(.invalidRecord, "a compacted topic takes no record without a key")
            }
            index += 1
        }
        guard !reader.isMalformed, reader.isAtEnd else {
            throw LogError(.invalidRecord, "the lengths of a batch's \(header.recordCount) records are wrong")
        }
    }

    private func corrupt(_ message: String) -> LogError { LogError(.corruptMessage, message) }
}

extension Int64 {
    /// The sum, at the type's ends if it does not fit.
    func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other > 0 ? .max : .min) : sum
    }
}
