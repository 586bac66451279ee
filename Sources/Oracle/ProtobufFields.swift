// ProtobufFields: the wire format of protocol buffers, as far as ONNX files need it.

/// The fields of one message, in order. https://protobuf.dev/programming-guides/encoding/
struct ProtobufFields {
    enum Value {
        case varint(UInt64)
        case fixed64(UInt64)
        case fixed32(UInt32)
        case bytes(ArraySlice<UInt8>)
    }

    private var fields: [(number: Int, value: Value)] = []

    init(_ bytes: ArraySlice<UInt8>) throws {
        var index = bytes.startIndex
        func varint() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: 0, to: 64, by: 7) {
                guard index < bytes.endIndex else { throw OracleError("the ONNX file ends inside a number") }
                let byte = bytes[index]
                index += 1
                value |= UInt64(byte & 0x7f) << UInt64(shift)
                if byte < 0x80 { return value }
            }
            throw OracleError("the ONNX file holds a number of more than 64 bits")
        }
        func take(_ count: UInt64) throws -> ArraySlice<UInt8> {
            guard let count = Int(exactly: count), count <= bytes.endIndex - index else {
                throw OracleError("the ONNX file ends inside a field")
            }
            defer { index += count }
            return bytes[index..<index + count]
        }
        while index < bytes.endIndex {
            let tag = try varint()
            let number = Int(tag >> 3 & 0x1fff_ffff)
            switch tag & 7 {
            case 0: fields.append((number, .varint(try varint())))
            case 1: fields.append((number, .fixed64(Bytes.read(UInt64.self, Array(try take(8)), at: 0) ?? 0)))
            case 2: fields.append((number, .bytes(try take(try varint()))))
            case 5: fields.append((number, .fixed32(Bytes.read(UInt32.self, Array(try take(4)), at: 0) ?? 0)))
            default: throw OracleError("the ONNX file holds a field of an unknown kind")
            }
        }
    }

    func messages(_ number: Int) throws -> [ProtobufFields] { try slices(number).map { try ProtobufFields($0) } }

    func texts(_ number: Int) -> [String] { slices(number).map { String(decoding: $0, as: UTF8.self) } }

    func text(_ number: Int) -> String { texts(number).last ?? "" }

    func slices(_ number: Int) -> [ArraySlice<UInt8>] {
        fields.compactMap { field in
            guard field.number == number, case .bytes(let slice) = field.value else { return nil }
            return slice
        }
    }

    func integer(_ number: Int) -> Int64? { integers(number).last }

    /// Repeated integers, packed or not.
    func integers(_ number: Int) -> [Int64] {
        fields.filter { $0.number == number }.flatMap { field -> [Int64] in
            switch field.value {
            case .varint(let value): return [Int64(bitPattern: value)]
            case .bytes(let slice):
                var values: [Int64] = []
                var value: UInt64 = 0
                var shift: UInt64 = 0
                for byte in slice {
                    value |= UInt64(byte & 0x7f) << shift
                    shift += 7
                    if byte < 0x80 {
                        values.append(Int64(bitPattern: value))
                        value = 0
                        shift = 0
                    }
                }
                return values
            default: return []
            }
        }
    }

    func float(_ number: Int) -> Double? { floats(number).last }

    /// Repeated floats, packed or not.
    func floats(_ number: Int) -> [Double] {
        fields.filter { $0.number == number }.flatMap { field -> [Double] in
            switch field.value {
            case .fixed32(let bits): return [Double(Float(bitPattern: bits))]
            case .bytes(let slice): return Self.floats(of: slice)
            default: return []
            }
        }
    }

    static func floats(of slice: ArraySlice<UInt8>) -> [Double] {
        let bytes = Array(slice)
        return stride(from: 0, to: bytes.count - bytes.count % 4, by: 4).map { offset in
            Double(Float(bitPattern: Bytes.read(UInt32.self, bytes, at: offset) ?? 0))
        }
    }

    static func integers64(of slice: ArraySlice<UInt8>) -> [Double] {
        let bytes = Array(slice)
        return stride(from: 0, to: bytes.count - bytes.count % 8, by: 8).map { offset in
            Double(Int64(bitPattern: Bytes.read(UInt64.self, bytes, at: offset) ?? 0))
        }
    }
}
