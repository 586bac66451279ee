// BigEndian: reading and writing numbers in network order, bounds-checked.

extension RawSpan {
    /// The big-endian integer at a byte offset; traps outside the span, so callers check lengths first.
    @inline(__always)
    func integer<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type = T.self) -> T {
        // An integer has no invalid bit patterns; the load is bounds-checked.
        T(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// A copy of the bytes in a range.
    func bytes(_ range: Range<Int>) -> [UInt8] {
        unsafe extracting(range).withUnsafeBytes { buffer in unsafe [UInt8](buffer) }
    }
}

extension [UInt8] {
    /// Appends an integer in network order.
    mutating func appendInteger<T: FixedWidthInteger>(_ value: T) {
        unsafe Swift.withUnsafeBytes(of: value.bigEndian) { unsafe append(contentsOf: $0) }
    }

    /// Overwrites the bytes at an offset with an integer in network order.
    @inline(__always)
    mutating func setInteger<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= count)
        unsafe withUnsafeMutableBytes { buffer in
            unsafe buffer.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
        }
    }

    /// Appends a signed number in Kafka's variable-length zigzag form.
    mutating func appendVarint(_ value: Int64) {
        var rest = UInt64(bitPattern: (value << 1) ^ (value >> 63))
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }
}

/// Reads numbers one after another from a byte array; every read is checked.
struct ByteReader {
    private let bytes: [UInt8]
    private(set) var offset: Int
    private let end: Int

    init(_ bytes: [UInt8], from offset: Int = 0, to end: Int? = nil) {
        self.bytes = bytes
        self.offset = offset
        self.end = end ?? bytes.count
    }

    var remaining: Int { end - offset }

    /// The next big-endian integer, nil at the end.
    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(as type: T.Type = T.self) -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        defer { offset += MemoryLayout<T>.size }
        return unsafe bytes.span.bytes.integer(at: offset, as: T.self)
    }
}
