// RecordPrefix: the fixed binary prefix of internal records (`events`, `features`). Layout: docs/formats.md.

/// W3C trace context of an event (https://www.w3.org/TR/trace-context/), in binary.
public struct TraceContext: Hashable, Sendable {
    /// The 16-byte trace id as two big-endian words.
    public var traceHigh: UInt64
    public var traceLow: UInt64
    /// The 8-byte parent span id, big-endian.
    public var span: UInt64
    public var isSampled: Bool

    public init(traceHigh: UInt64, traceLow: UInt64, span: UInt64, isSampled: Bool) {
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.span = span
        self.isSampled = isSampled
    }
}

/// Why bytes are not a valid internal record.
public struct RecordFormatError: Error, Sendable, CustomStringConvertible {
    public var code: ErrorCode
    public var message: String
    public var description: String { message }

    public init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// The 112-byte prefix, little-endian but for the event id, trace id and span id (network order).
public struct RecordPrefix: Sendable, Equatable {
    public enum Kind: UInt8, Sendable {
        case event = 1
        case features = 2
    }

    public static let formatVersion: UInt8 = 1
    public static let byteCount = 112

    public var kind: Kind
    public var eventID: EventID
    /// Microseconds since the Unix epoch, as all times here.
    public var eventTime: Int64
    /// The Kafka timestamp of the input record.
    public var publishTime: Int64
    public var ingestTime: Int64
    /// When the stage that wrote this record processed it.
    public var stageTime: Int64
    /// Where the input record stands in `<p>.inputs`.
    public var inputOffset: Int64
    public var inputPartition: Int32
    /// First word of the SHA-256 of the decoded payload: tells a repeat from a conflicting reuse of the id.
    public var payloadHash: UInt64
    /// First word (big-endian) of the SHA-256 of the contract that the body follows.
    public var contractHash: UInt64
    public var trace: TraceContext?
    /// The event id stems from the publisher's own id and source, not from the record's position.
    public var isIdentifiedByPublisher: Bool

    public init(
        kind: Kind, eventID: EventID, eventTime: Int64, publishTime: Int64, ingestTime: Int64, stageTime: Int64,
        inputOffset: Int64, inputPartition: Int32, payloadHash: UInt64, contractHash: UInt64, trace: TraceContext?,
        isIdentifiedByPublisher: Bool
    ) {
        self.kind = kind
        self.eventID = eventID
        self.eventTime = eventTime
        self.publishTime = publishTime
        self.ingestTime = ingestTime
        self.stageTime = stageTime
        self.inputOffset = inputOffset
        self.inputPartition = inputPartition
        self.payloadHash = payloadHash
        self.contractHash = contractHash
        self.trace = trace
        self.isIdentifiedByPublisher = isIdentifiedByPublisher
    }

    private static let flagTrace: UInt16 = 1
    private static let flagSampled: UInt16 = 2
    private static let flagPublisherID: UInt16 = 4

    @inline(__always)
    func put(to cursor: inout ByteCursor) {
        var flags: UInt16 = isIdentifiedByPublisher ? Self.flagPublisherID : 0
        if let trace { flags |= Self.flagTrace | (trace.isSampled ? Self.flagSampled : 0) }
        // The prefix is 14 words, put together in registers and copied at once.
        var words = InlineArray<14, UInt64>(repeating: 0)
        words[0] =
            UInt64(Self.formatVersion) | UInt64(kind.rawValue) << 8 | UInt64(flags) << 16 | UInt64(Self.byteCount) << 32
        words[1] = eventID.high.byteSwapped
        words[2] = eventID.low.byteSwapped
        words[3] = UInt64(bitPattern: eventTime)
        words[4] = UInt64(bitPattern: publishTime)
        words[5] = UInt64(bitPattern: ingestTime)
        words[6] = UInt64(bitPattern: stageTime)
        words[7] = UInt64(bitPattern: inputOffset)
        words[8] = UInt64(UInt32(bitPattern: inputPartition))
        words[9] = payloadHash
        words[10] = contractHash.byteSwapped
        words[11] = (trace?.traceHigh ?? 0).byteSwapped
        words[12] = (trace?.traceLow ?? 0).byteSwapped
        words[13] = (trace?.span ?? 0).byteSwapped
        for index in words.indices { words[index] = words[index].littleEndian }
        cursor.put(words.span.bytes)
    }

    /// Reads the prefix at the start of `bytes`.
    public init(reading bytes: RawSpan, expecting expected: Kind) throws(RecordFormatError) {
        guard bytes.byteCount >= Self.byteCount else {
            throw RecordFormatError(
                .malformedRecord, "the record has \(bytes.byteCount) bytes, its prefix alone has \(Self.byteCount)")
        }
        let version = bytes.little(UInt8.self, at: 0)
        guard version == Self.formatVersion else {
            throw RecordFormatError(
                .unsupportedFormatVersion,
                "the record has format version \(version), this reader knows \(Self.formatVersion): upgrade the consumer"
            )
        }
        guard let kind = Kind(rawValue: bytes.little(UInt8.self, at: 1)), kind == expected else {
            throw RecordFormatError(
                .malformedRecord, "the record is of kind \(bytes.little(UInt8.self, at: 1)), expected \(expected)")
        }
        guard bytes.little(UInt32.self, at: 4) == UInt32(Self.byteCount) else {
            throw RecordFormatError(.malformedRecord, "the prefix length is not \(Self.byteCount)")
        }
        let flags = bytes.little(UInt16.self, at: 2)
        self.kind = kind
        eventID = EventID(
            high: bytes.little(UInt64.self, at: 8).byteSwapped, low: bytes.little(UInt64.self, at: 16).byteSwapped)
        eventTime = bytes.little(Int64.self, at: 24)
        publishTime = bytes.little(Int64.self, at: 32)
        ingestTime = bytes.little(Int64.self, at: 40)
        stageTime = bytes.little(Int64.self, at: 48)
        inputOffset = bytes.little(Int64.self, at: 56)
        inputPartition = bytes.little(Int32.self, at: 64)
        payloadHash = bytes.little(UInt64.self, at: 72)
        contractHash = bytes.little(UInt64.self, at: 80).byteSwapped
        isIdentifiedByPublisher = flags & Self.flagPublisherID != 0
        guard flags & Self.flagTrace != 0 else {
            trace = nil
            return
        }
        trace = TraceContext(
            traceHigh: bytes.little(UInt64.self, at: 88).byteSwapped,
            traceLow: bytes.little(UInt64.self, at: 96).byteSwapped,
            span: bytes.little(UInt64.self, at: 104).byteSwapped, isSampled: flags & Self.flagSampled != 0)
    }
}

extension [UInt8] {
    /// Appends a fixed-width integer, little-endian.
    @inlinable
    @inline(__always)
    public mutating func appendLittleEndian<T: FixedWidthInteger>(_ value: T) {
        unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
    }
}

extension RawSpan {
    /// Reads a fixed-width little-endian integer at any alignment; traps outside the span, so check the length first.
    @inlinable
    @inline(__always)
    public func little<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= byteCount, "read outside the record")
        return unsafe T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }
}
