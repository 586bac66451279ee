// Message: one consumed record, borrowed from librdkafka while the application looks at it.

import CRdKafka
import Glibc

/// A consumed record. Its memory belongs to librdkafka and is given back when the value goes out of scope, on every
/// path; copy out what shall live longer. A missing key and a tombstone's value are `nil`, never empty.
@safe public struct Message: ~Copyable {
    public enum TimestampKind: Sendable {
        case notAvailable
        /// Set by the producer.
        case create
        /// Set by the broker when it appended the record.
        case logAppend
    }

    /// Keeps the record's memory alive.
    private let event: EventHandle
    /// Points into `event`.
    private let record: UnsafePointer<rd_kafka_message_t>
    /// Index of the topic, as `Consumer.registerTopic` gave it.
    public let topicIndex: Int

    init(event: consuming EventHandle, record: UnsafePointer<rd_kafka_message_t>, topicIndex: Int) {
        self.event = event
        unsafe self.record = unsafe record
        self.topicIndex = topicIndex
    }

    public var partition: Int32 { unsafe record.pointee.partition }

    public var offset: Int64 { unsafe record.pointee.offset }

    /// Milliseconds since the Unix epoch; -1 when the record has none.
    public var timestampMilliseconds: Int64 {
        var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        return unsafe rd_kafka_message_timestamp(record, &kind)
    }

    public var timestampKind: TimestampKind {
        var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        _ = unsafe rd_kafka_message_timestamp(record, &kind)
        switch kind {
        case RD_KAFKA_TIMESTAMP_CREATE_TIME: return .create
        case RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME: return .logAppend
        default: return .notAvailable
        }
    }

    /// Borrows the key's bytes; nil when the record has none.
    @inline(__always)
    public borrowing func withKey<R: ~Copyable, E: Error>(_ body: (RawSpan?) throws(E) -> R) throws(E) -> R {
        // The bytes are the event's, which lives as long as `self`, which is borrowed for the whole call.
        guard let start = unsafe record.pointee.key else { return try body(nil) }
        return try unsafe body(UnsafeRawBufferPointer(start: start, count: record.pointee.key_len).bytes)
    }

    /// Borrows the value's bytes; nil for a tombstone.
    @inline(__always)
    public borrowing func withValue<R: ~Copyable, E: Error>(_ body: (RawSpan?) throws(E) -> R) throws(E) -> R {
        // Lifetime as in `withKey`.
        guard let start = unsafe record.pointee.payload else { return try body(nil) }
        return try unsafe body(UnsafeRawBufferPointer(start: start, count: record.pointee.len).bytes)
    }

    /// Bytes of key and value together.
    public var byteCount: Int {
        let keyLength = unsafe record.pointee.key == nil ? 0 : record.pointee.key_len
        let valueLength = unsafe record.pointee.payload == nil ? 0 : record.pointee.len
        return keyLength + valueLength
    }

    /// Borrows key and value at once, for copying a record on.
    @inline(__always)
    public borrowing func withKeyAndValue<R: ~Copyable, E: Error>(
        _ body: (RawSpan?, RawSpan?) throws(E) -> R
    ) throws(E) -> R {
        try withKey { key throws(E) in try withValue { value throws(E) in try body(key, value) } }
    }

    /// Copies the key out.
    public var key: [UInt8]? { withKey { Self.copy($0) } }

    /// Copies the value out.
    public var value: [UInt8]? { withValue { Self.copy($0) } }

    /// Calls `body` with the name and value of each header in order. A header's value may be nil. A name ends at its
    /// first zero byte, as librdkafka holds names as C strings.
    public borrowing func forEachHeader<E: Error>(_ body: (RawSpan, RawSpan?) throws(E) -> Void) throws(E) {
        var list: OpaquePointer?
        guard unsafe rd_kafka_message_headers(record, &list) == RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        var index = 0
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        // Names and values are the event's, alive as in `withKey`.
        while unsafe rd_kafka_header_get_all(list, index, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR {
            index += 1
            guard let start = unsafe name else { continue }
            let nameBytes = unsafe UnsafeRawBufferPointer(start: start, count: strlen(start))
            if let value = unsafe value {
                try unsafe body(nameBytes.bytes, UnsafeRawBufferPointer(start: value, count: size).bytes)
            } else {
                try unsafe body(nameBytes.bytes, nil)
            }
        }
    }

    /// Copies the headers out.
    public var headers: [RecordHeader] {
        var result: [RecordHeader] = []
        forEachHeader { name, value in
            result.append(RecordHeader(nameBytes: Self.copy(name) ?? [], value: Self.copy(value)))
        }
        return result
    }

    private static func copy(_ bytes: RawSpan?) -> [UInt8]? {
        unsafe bytes?.withUnsafeBytes { unsafe Array($0) }
    }
}

/// A record's header. The name is kept as bytes, so that a header can be passed on as it came.
public struct RecordHeader: Hashable, Sendable {
    public var nameBytes: [UInt8]
    public var value: [UInt8]?

    public init(nameBytes: [UInt8], value: [UInt8]?) {
        self.nameBytes = nameBytes
        self.value = value
    }

    public init(_ name: String, _ value: [UInt8]?) {
        self.init(nameBytes: Array(name.utf8), value: value)
    }

    /// A header with a text value.
    public init(_ name: String, text: String) {
        self.init(nameBytes: Array(name.utf8), value: Array(text.utf8))
    }

    public var name: String { String(decoding: nameBytes, as: UTF8.self) }
}
