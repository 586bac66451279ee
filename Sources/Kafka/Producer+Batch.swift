// Producer+Batch: many records of one topic with one call.

import CRdKafka

extension Producer {
    /// A record without headers, as ranges of two byte arenas.
    public struct BatchRecord: Sendable {
        public var keyStart: Int
        /// -1 for no key.
        public var keyLength: Int
        public var valueStart: Int
        /// -1 for a tombstone.
        public var valueLength: Int
        public var tag: UInt64

        public init(keyStart: Int, keyLength: Int, valueStart: Int, valueLength: Int, tag: UInt64) {
            self.keyStart = keyStart
            self.keyLength = keyLength
            self.valueStart = valueStart
            self.valueLength = valueLength
            self.tag = tag
        }
    }

    /// What became of the records of a batch.
    public struct BatchOutcome: Sendable {
        /// Records at the front that were judged: queued, or named in `failures`.
        public var count: Int
        /// Those of them that were refused by themselves (too large), by index.
        public var failures: [(index: Int, error: KafkaError)]
        /// Why the record after them was not queued; nil when all were judged. `queueFull` is retriable.
        public var obstacle: KafkaError?
    }

    /// Queues records in order, with the present time, partitioned by key; keys and values are copied.
    ///
    /// One call takes librdkafka's locks once for all of them and wakes its sender once.
    public func produce(topic: Int, _ records: [BatchRecord], keys: RawSpan, values: RawSpan) -> BatchOutcome {
        guard let handle = unsafe topicHandle(topic) else {
            let error = KafkaError(code: .invalidArgument, message: "No topic was registered under index \(topic)")
            return BatchOutcome(count: 0, failures: [], obstacle: error)
        }
        // The library copies keys and values (MSG_F_COPY) before the call returns, so borrowing both arenas for its
        // duration is enough; `range` checks each slice against its arena.
        return unsafe keys.withUnsafeBytes { keyBytes in
            unsafe values.withUnsafeBytes { valueBytes in
                unsafe withUnsafeTemporaryAllocation(of: rd_kafka_message_t.self, capacity: records.count) { messages in
                    unsafe messages.initialize(repeating: rd_kafka_message_t())
                    for index in records.indices {
                        let record = records[index]
                        let key = unsafe Self.range(keyBytes, record.keyStart, record.keyLength)
                        let value = unsafe Self.range(valueBytes, record.valueStart, record.valueLength)
                        unsafe messages[index].key = UnsafeMutableRawPointer(mutating: key.start)
                        unsafe messages[index].key_len = key.count
                        unsafe messages[index].payload = UnsafeMutableRawPointer(mutating: value.start)
                        unsafe messages[index].len = value.count
                        unsafe messages[index]._private = UnsafeMutableRawPointer(bitPattern: UInt(record.tag))
                    }
                    let queued = unsafe rd_kafka_produce_batch(
                        handle, KafkaPartition.unassigned, RD_KAFKA_MSG_F_COPY, messages.baseAddress,
                        Int32(records.count))
                    guard Int(queued) < records.count else {
                        return BatchOutcome(count: records.count, failures: [], obstacle: nil)
                    }
                    return unsafe outcome(of: messages, topic: topic)
                }
            }
        }
    }

    private func outcome(of messages: UnsafeMutableBufferPointer<rd_kafka_message_t>, topic: Int) -> BatchOutcome {
        var outcome = BatchOutcome(count: messages.count, failures: [], obstacle: nil)
        for index in messages.indices {
            let response = unsafe messages[index].err
            guard response != RD_KAFKA_RESP_ERR_NO_ERROR else {
                guard outcome.obstacle == nil else {
                    // A full queue refuses all records after the first one, too. Should a version of the library not do
                    // so, the order is lost and going on would repeat records.
                    outcome.obstacle = KafkaError(
                        code: .other, message: "librdkafka queued a record behind one that it refused")
                    return outcome
                }
                continue
            }
            let error = KafkaError(response, context: "Cannot produce to '\(topicName(at: topic) ?? "?")'")
            if outcome.obstacle == nil {
                if error.code == .messageTooLarge {
                    outcome.failures.append((index, error))
                } else {
                    outcome.count = index
                    outcome.obstacle = error
                }
            }
        }
        return outcome
    }

    /// Null for a missing slice; never null for an empty one, which librdkafka would take for a tombstone.
    private static func range(_ arena: UnsafeRawBufferPointer, _ start: Int, _ length: Int) -> OptionalBytes {
        guard length >= 0 else { return unsafe OptionalBytes(start: nil, count: 0) }
        guard length > 0 else { return unsafe OptionalBytes(start: UnsafeRawPointer(bitPattern: 1), count: 0) }
        let slice = unsafe UnsafeRawBufferPointer(rebasing: arena[start..<start + length])
        return unsafe OptionalBytes(start: slice.baseAddress, count: length)
    }
}
