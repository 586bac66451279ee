// LabelRecord: the outcome of an event as `labels` records carry it. Layout: docs/formats.md.

/// What an event turned out to be. A label that comes again for an event id corrects the earlier one.
public struct LabelRecord: Sendable, Hashable {
    public static let formatVersion: UInt8 = 1
    public static let byteCount = 64
    private static let kind: UInt8 = 3

    /// The event that the label is for.
    public var eventID: EventID
    /// Class, 0 or more.
    public var label: Int32
    /// When the outcome became known, on the events' own clock; microseconds since the Unix epoch, as all times here.
    public var labelTime: Int64
    /// The Kafka timestamp of the input record.
    public var publishTime: Int64
    public var ingestTime: Int64
    /// Where the input record stands in `<p>.label-inputs`.
    public var inputOffset: Int64
    public var inputPartition: Int32

    public init(
        eventID: EventID, label: Int32, labelTime: Int64, publishTime: Int64, ingestTime: Int64, inputOffset: Int64,
        inputPartition: Int32
    ) {
        self.eventID = eventID
        self.label = label
        self.labelTime = labelTime
        self.publishTime = publishTime
        self.ingestTime = ingestTime
        self.inputOffset = inputOffset
        self.inputPartition = inputPartition
    }

    /// Whether this label replaces `earlier`, a label of the same event: it was published later. The order is total, so
    /// that every reader settles on the same label however the topic's partitions are interleaved; a record that is read
    /// twice does not replace itself.
    public func corrects(_ earlier: LabelRecord) -> Bool {
        (publishTime, inputPartition, inputOffset)
            > (earlier.publishTime, earlier.inputPartition, earlier.inputOffset)
    }

    public func append(to bytes: inout [UInt8]) {
        bytes.append(Self.formatVersion)
        bytes.append(Self.kind)
        bytes.appendLittleEndian(UInt16(0))
        bytes.appendLittleEndian(UInt32(Self.byteCount))
        bytes.appendLittleEndian(eventID.high.byteSwapped)
        bytes.appendLittleEndian(eventID.low.byteSwapped)
        for time in [labelTime, publishTime, ingestTime, inputOffset] { bytes.appendLittleEndian(time) }
        bytes.appendLittleEndian(inputPartition)
        bytes.appendLittleEndian(label)
    }

    /// Reads a whole record; anything but exactly one label is refused.
    public init(reading bytes: RawSpan) throws(RecordFormatError) {
        guard bytes.byteCount > 0 else { throw RecordFormatError(.emptyValue, "the record has no value") }
        let version = bytes.little(UInt8.self, at: 0)
        guard version == Self.formatVersion else {
            throw RecordFormatError(
                .unsupportedFormatVersion,
                "the record has format version \(version), this reader knows \(Self.formatVersion): upgrade the consumer"
            )
        }
        guard bytes.byteCount == Self.byteCount, bytes.little(UInt32.self, at: 4) == UInt32(Self.byteCount) else {
            throw RecordBody.malformed("a label has \(Self.byteCount) bytes, the record \(bytes.byteCount)")
        }
        guard bytes.little(UInt8.self, at: 1) == Self.kind else {
            let found = bytes.little(UInt8.self, at: 1)
            throw RecordBody.malformed("the record is of kind \(found), a label of \(Self.kind)")
        }
        eventID = EventID(
            high: bytes.little(UInt64.self, at: 8).byteSwapped, low: bytes.little(UInt64.self, at: 16).byteSwapped)
        labelTime = bytes.little(Int64.self, at: 24)
        publishTime = bytes.little(Int64.self, at: 32)
        ingestTime = bytes.little(Int64.self, at: 40)
        inputOffset = bytes.little(Int64.self, at: 48)
        inputPartition = bytes.little(Int32.self, at: 56)
        label = bytes.little(Int32.self, at: 60)
        guard label >= 0 else { throw RecordBody.malformed("the label is \(label), a class is 0 or more") }
    }
}

extension EventID {
    /// Reads the canonical 8-4-4-4-12 form, in either case; nil for anything else.
    public init?(reading text: RawSpan) {
        guard text.byteCount == 36 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        var digits = 0
        for index in 0..<36 {
            let byte = text.little(UInt8.self, at: index)
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == 0x2d else { return nil }
                continue
            }
            guard let digit = Self.digit(byte) else { return nil }
            if digits < 16 { words.0 = words.0 << 4 | digit } else { words.1 = words.1 << 4 | digit }
            digits += 1
        }
        self.init(high: words.0, low: words.1)
    }

    private static func digit(_ byte: UInt8) -> UInt64? {
        switch byte {
        case 0x30...0x39: UInt64(byte - 0x30)
        case 0x41...0x46: UInt64(byte - 0x41 + 10)
        case 0x61...0x66: UInt64(byte - 0x61 + 10)
        default: nil
        }
    }
}
