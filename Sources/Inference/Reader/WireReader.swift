// WireReader: the protobuf wire format, read in place and bounded.

/// One field of a message: its number and where its content stands.
struct WireField {
    enum Kind { case varint, fixed64, block, fixed32 }

    var number: Int
    var kind: Kind
    /// The value of a varint; 0 otherwise.
    var value: UInt64
    /// Content bytes of a block, or the 4 or 8 bytes of a fixed-width field.
    var range: Range<Int>
}

/// Walks the fields of one message. Holds positions only: the bytes are passed in, so nothing is copied and no read can
/// leave the message.
struct WireReader {
    private(set) var position: Int
    private let end: Int

    init(_ message: Range<Int>) {
        position = message.lowerBound
        end = message.upperBound
    }

    var isAtEnd: Bool { position >= end }

    /// The next field, or nil at the end of the message.
    mutating func next(_ bytes: RawSpan) throws(ONNXError) -> WireField? {
        guard position < end else { return nil }
        let start = position
        let tag = try varint(bytes)
        let number = Int(truncatingIfNeeded: tag >> 3)
        guard tag <= UInt64(UInt32.max), number > 0 else {
            throw malformed("a field with number 0 or too large", start)
        }
        switch tag & 7 {
        case 0:
            let value = try varint(bytes)
            return WireField(number: number, kind: .varint, value: value, range: position..<position)
        case 1: return WireField(number: number, kind: .fixed64, value: 0, range: try take(8))
        case 2:
            let length = try varint(bytes)
            guard length <= UInt64(end - position) else {
                throw malformed(
                    "a block of \(length) bytes, \(end - position) are left: the file may be cut off", start)
            }
            return WireField(number: number, kind: .block, value: 0, range: try take(Int(length)))
        case 5: return WireField(number: number, kind: .fixed32, value: 0, range: try take(4))
        default: throw malformed("wire type \(tag & 7)", start)
        }
    }

    /// A varint of at most ten bytes.
    mutating func varint(_ bytes: RawSpan) throws(ONNXError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while position < end {
            let byte = bytes.byte(position)
            position += 1
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
            shift += 7
            guard shift < 70 else { throw malformed("a number of more than ten bytes", position) }
        }
        throw malformed("a number that is cut off", position)
    }

    private mutating func take(_ count: Int) throws(ONNXError) -> Range<Int> {
        guard count <= end - position else { throw malformed("a field that is cut off", position) }
        defer { position += count }
        return position..<position + count
    }

    private func malformed(_ what: String, _ offset: Int) -> ONNXError {
        ONNXError(.malformed, "not a well-formed ONNX model: \(what) at byte \(offset)")
    }
}

extension RawSpan {
    @inline(__always)
    func byte(_ offset: Int) -> UInt8 { unsafeLoad(checking: offset, as: UInt8.self) }

    @inline(__always)
    func float(_ offset: Int) -> Float {
        Float(bitPattern: UInt32(littleEndian: unsafeLoad(checking: offset, as: UInt32.self)))
    }

    @inline(__always)
    func double(_ offset: Int) -> Double {
        Double(bitPattern: UInt64(littleEndian: unsafeLoad(checking: offset, as: UInt64.self)))
    }

    /// An unaligned load that traps outside the span; for types without invalid bit patterns.
    @inline(__always)
    func unsafeLoad<T: FixedWidthInteger & BitwiseCopyable>(checking offset: Int, as type: T.Type) -> T {
        precondition(offset >= 0 && offset <= byteCount - MemoryLayout<T>.size, "read outside the model")
        return unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
    }

    func text(_ range: Range<Int>) -> String {
        extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }
}
