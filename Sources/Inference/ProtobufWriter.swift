// ProtobufWriter: the protobuf wire format, writing side.

/// Appends fields in the protobuf wire format (https://protobuf.dev/programming-guides/encoding/).
struct ProtobufWriter: Sendable {
    private(set) var bytes: [UInt8] = []

    private mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    private mutating func tag(_ field: Int, wireType: UInt64) { varint(UInt64(field) << 3 | wireType) }

    private mutating func block(_ field: Int, _ content: [UInt8]) {
        tag(field, wireType: 2)
        varint(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    mutating func int(_ field: Int, _ value: Int64) {
        tag(field, wireType: 0)
        varint(UInt64(bitPattern: value))
    }

    mutating func float(_ field: Int, _ value: Float) {
        tag(field, wireType: 5)
        little(value.bitPattern)
    }

    mutating func string(_ field: Int, _ text: String) { block(field, Array(text.utf8)) }

    mutating func message(_ field: Int, _ body: (inout ProtobufWriter) -> Void) {
        var inner = ProtobufWriter()
        body(&inner)
        block(field, inner.bytes)
    }

    /// Fixed-width integers back to back, little-endian: `raw_data`.
    mutating func raw<T: FixedWidthInteger>(_ field: Int, _ values: [T]) {
        tag(field, wireType: 2)
        varint(UInt64(values.count * MemoryLayout<T>.size))
        bytes.reserveCapacity(bytes.count + values.count * MemoryLayout<T>.size)
        for value in values { little(value) }
    }

    /// Appends fields written elsewhere.
    mutating func append(_ other: ProtobufWriter) { bytes.append(contentsOf: other.bytes) }

    private mutating func little<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}
