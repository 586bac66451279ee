// WireCoder: one description of a message's fields serves for reading and for writing it, in every version.

import NIOCore

/// Why a frame could not be read.
enum WireError: Error, Equatable {
    case truncated
    case invalidLength
    case tooManyElements
    case unexpectedNull
}

/// A part of a message: its fields in wire order. `code` reads or writes, as the coder's direction says.
protocol WireStruct: Sendable {
    init()
    mutating func code(_ coder: inout WireCoder) throws(WireError)
}

/// Reads or writes the fields of one request or response in one version.
///
/// Written records are kept as slices of their own, so that a fetched batch is never copied into a response.
struct WireCoder {
    /// Elements of all arrays of one message together: a small frame must not become a large value.
    static let elementsMax = 400_000
    /// Records up to this many bytes are copied into the response: a slice of its own would cost more.
    static let inlineRecordsMax = 4_096

    let version: Int16
    /// Compact lengths and tagged fields.
    let isFlexible: Bool
    let isReading: Bool
    private var buffer: ByteBuffer
    private var finishedPieces: [ByteBuffer] = []
    private var elements = 0

    init(reading buffer: ByteBuffer, version: Int16, isFlexible: Bool) {
        self.buffer = buffer
        self.version = version
        self.isFlexible = isFlexible
        isReading = true
    }

    init(writingInto buffer: ByteBuffer, version: Int16, isFlexible: Bool) {
        self.buffer = buffer
        self.version = version
        self.isFlexible = isFlexible
        isReading = false
    }

    var readableBytes: Int { buffer.readableBytes }

    /// Reads a whole message. What is left over is ignored, as in Kafka: librdkafka 2.16 sends bytes too many after a
    /// Metadata request for a single topic.
    mutating func readMessage<M: WireStruct>(_ type: M.Type = M.self) throws(WireError) -> M {
        var message = M()
        try message.code(&self)
        try tags()
        return message
    }

    mutating func writeMessage<M: WireStruct>(_ message: M) throws(WireError) {
        var message = message
        try message.code(&self)
        try tags()
    }

    /// What was written, in order.
    consuming func pieces() -> [ByteBuffer] {
        if finishedPieces.isEmpty { return [buffer] }
        if buffer.readableBytes > 0 { finishedPieces.append(buffer) }
        return finishedPieces
    }

    // MARK: Numbers

    private mutating func integer<I: FixedWidthInteger>(_ value: inout I) throws(WireError) {
        if isReading {
            guard let read = buffer.readInteger(as: I.self) else { throw .truncated }
            value = read
        } else {
            buffer.writeInteger(value)
        }
    }

    mutating func int8(_ value: inout Int8) throws(WireError) { try integer(&value) }
    mutating func int16(_ value: inout Int16) throws(WireError) { try integer(&value) }
    mutating func int32(_ value: inout Int32) throws(WireError) { try integer(&value) }
    mutating func int64(_ value: inout Int64) throws(WireError) { try integer(&value) }

    mutating func bool(_ value: inout Bool) throws(WireError) {
        var byte: UInt8 = value ? 1 : 0
        try integer(&byte)
        value = byte != 0
    }

    mutating func error(_ value: inout ProtocolError) throws(WireError) {
        try integer(&value.code)
    }

    mutating func uuid(_ value: inout WireUUID) throws(WireError) {
        try integer(&value.high)
        try integer(&value.low)
    }

    private mutating func readVarint() throws(WireError) -> Int {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 35, by: 7) {
            guard let byte = buffer.readInteger(as: UInt8.self) else { throw .truncated }
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return Int(value) }
        }
        throw .invalidLength
    }

    private mutating func writeVarint(_ value: Int) {
        var rest = UInt64(value)
        while rest >= 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        buffer.writeInteger(UInt8(rest))
    }

    // MARK: Lengths

    private enum LengthKind { case short, long }

    /// A length; nil stands for null. Flexible versions write it as an unsigned varint of length + 1.
    private mutating func readLength(_ kind: LengthKind) throws(WireError) -> Int? {
        let length: Int
        if isFlexible {
            length = try readVarint() - 1
        } else if kind == .short {
            guard let read = buffer.readInteger(as: Int16.self) else { throw .truncated }
            length = Int(read)
        } else {
            guard let read = buffer.readInteger(as: Int32.self) else { throw .truncated }
            length = Int(read)
        }
        guard length >= -1 else { throw .invalidLength }
        guard length <= buffer.readableBytes else { throw .truncated }
        return length == -1 ? nil : length
    }

    private mutating func writeLength(_ length: Int?, _ kind: LengthKind) {
        if isFlexible {
            writeVarint((length ?? -1) + 1)
        } else if kind == .short {
            buffer.writeInteger(Int16(truncatingIfNeeded: length ?? -1))
        } else {
            buffer.writeInteger(Int32(truncatingIfNeeded: length ?? -1))
        }
    }

    // MARK: Text and bytes

    mutating func nullableString(_ value: inout String?) throws(WireError) {
        if isReading {
            guard let length = try readLength(.short) else {
                value = nil
                return
            }
            guard let text = buffer.readString(length: length) else { throw .truncated }
            value = text
        } else if let text = value {
            // A string's length is 16 bits in the older versions: a longer text is an internal message, cut to fit.
            let bytes = text.utf8.count <= Int(Int16.max) ? text : String(text.prefix(4_096))
            writeLength(bytes.utf8.count, .short)
            buffer.writeString(bytes)
        } else {
            writeLength(nil, .short)
        }
    }

    mutating func string(_ value: inout String) throws(WireError) {
        var text: String? = value
        try nullableString(&text)
        guard let text else { throw .unexpectedNull }
        value = text
    }

    /// Opaque bytes; null is read as empty.
    mutating func bytes(_ value: inout [UInt8]) throws(WireError) {
        if isReading {
            let length = try readLength(.long) ?? 0
            guard let read = buffer.readBytes(length: length) else { throw .truncated }
            value = read
        } else {
            writeLength(value.count, .long)
            buffer.writeBytes(value)
        }
    }

    /// Record batches: read as a slice of the frame, written as a piece of their own when they are large.
    mutating func records(_ value: inout ByteBuffer?) throws(WireError) {
        if isReading {
            guard let length = try readLength(.long) else {
                value = nil
                return
            }
            guard let slice = buffer.readSlice(length: length) else { throw .truncated }
            value = slice
            return
        }
        writeLength(value?.readableBytes, .long)
        guard var slice = value else { return }
        guard slice.readableBytes > Self.inlineRecordsMax else {
            buffer.writeBuffer(&slice)
            return
        }
        finishedPieces.append(buffer)
        finishedPieces.append(slice)
        buffer = ByteBufferAllocator().buffer(capacity: 256)
    }

    // MARK: Arrays

    private mutating func readCount() throws(WireError) -> Int? {
        guard let count = try readLength(.long) else { return nil }
        elements += count
        guard elements <= Self.elementsMax else { throw .tooManyElements }
        return count
    }

    /// An array whose elements are coded by `element`.
    private mutating func nullableArray<T>(
        _ value: inout [T]?, make: () -> T, element: (inout WireCoder, inout T) throws(WireError) -> Void
    ) throws(WireError) {
        guard isReading else {
            writeLength(value?.count, .long)
            for item in value ?? [] {
                var item = item
                try element(&self, &item)
            }
            return
        }
        guard let count = try readCount() else {
            value = nil
            return
        }
        var items: [T] = []
        items.reserveCapacity(min(count, 1_024))
        for _ in 0..<count {
            var item = make()
            try element(&self, &item)
            items.append(item)
        }
        value = items
    }

    private mutating func array<T>(
        _ value: inout [T], make: () -> T, element: (inout WireCoder, inout T) throws(WireError) -> Void
    ) throws(WireError) {
        var items: [T]? = value
        try nullableArray(&items, make: make, element: element)
        value = items ?? []
    }

    mutating func array<S: WireStruct>(_ value: inout [S]) throws(WireError) {
        try array(&value, make: { S() }, element: WireCoder.codeStruct)
    }

    mutating func nullableArray<S: WireStruct>(_ value: inout [S]?) throws(WireError) {
        try nullableArray(&value, make: { S() }, element: WireCoder.codeStruct)
    }

    mutating func strings(_ value: inout [String]) throws(WireError) {
        try array(&value, make: { "" }, element: { (coder, item) throws(WireError) in try coder.string(&item) })
    }

    mutating func nullableStrings(_ value: inout [String]?) throws(WireError) {
        try nullableArray(
            &value, make: { "" }, element: { (coder, item) throws(WireError) in try coder.string(&item) })
    }

    mutating func int32s(_ value: inout [Int32]) throws(WireError) {
        try array(&value, make: { 0 }, element: { (coder, item) throws(WireError) in try coder.int32(&item) })
    }

    private static func codeStruct<S: WireStruct>(_ coder: inout WireCoder, _ item: inout S) throws(WireError) {
        try item.code(&coder)
        try coder.tags()
    }

    // MARK: Tagged fields

    /// The end of a struct in a flexible version. Unknown tagged fields are skipped, none are written.
    mutating func tags() throws(WireError) {
        guard isFlexible else { return }
        guard isReading else {
            buffer.writeInteger(UInt8(0))
            return
        }
        let count = try readVarint()
        elements += count
        guard elements <= Self.elementsMax else { throw .tooManyElements }
        for _ in 0..<count {
            _ = try readVarint()
            let length = try readVarint()
            guard buffer.readableBytes >= length else { throw .truncated }
            buffer.moveReaderIndex(forwardBy: length)
        }
    }
}
