// NumPyFile: arrays in NumPy's .npy and .npz files.

import Foundation
import Inference

/// Reads and writes NumPy arrays (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): little-endian
/// numbers, truth values and texts in C order. A .npz file is a ZIP archive of .npy files; members must be stored
/// without compression, as `numpy.savez` does.
enum NumPyFile {
    /// Larger files are refused.
    private static let bytesMax = 4 << 30

    static func read(path: String) throws(CommandFailure) -> [(name: String, value: TensorValue)] {
        guard let data = FileManager.default.contents(atPath: path), data.count <= bytesMax else {
            throw CommandFailure("cannot read \(path): name a readable .npy or .npz file")
        }
        let bytes = Array(data)
        guard path.hasSuffix(".npz") else { return [("", try array(bytes[...], path))] }
        return try members(bytes, path)
    }

    private static func little(_ bytes: ArraySlice<UInt8>, _ offset: Int, _ width: Int) -> UInt64 {
        var word: UInt64 = 0
        for index in 0..<width { word |= UInt64(bytes[bytes.startIndex + offset + index]) << UInt64(8 * index) }
        return word
    }

    // MARK: .npy

    private static func array(_ bytes: ArraySlice<UInt8>, _ place: String) throws(CommandFailure) -> TensorValue {
        guard bytes.count >= 12, bytes.starts(with: [0x93] + Array("NUMPY".utf8)) else {
            throw CommandFailure("\(place): not a NumPy array")
        }
        let isLong = bytes[bytes.startIndex + 6] >= 2
        let start = isLong ? 12 : 10
        let length = Int(little(bytes, 8, isLong ? 4 : 2))
        guard length <= bytes.count - start else { throw CommandFailure("\(place): the header is cut off") }
        let header = String(
            decoding: bytes[(bytes.startIndex + start)..<(bytes.startIndex + start + length)], as: UTF8.self)
        guard let descriptor = quoted("descr", header), let shape = shape(header) else {
            throw CommandFailure("\(place): the header \(header) has no simple type and shape")
        }
        guard header.contains("'fortran_order': False") else {
            throw CommandFailure("\(place): the array is in Fortran order: save numpy.ascontiguousarray(it)")
        }
        return try elements(bytes.dropFirst(start + length), descriptor, shape, place)
    }

    private static func quoted(_ key: String, _ header: String) -> String? {
        guard let at = header.range(of: "'\(key)': '") else { return nil }
        return header[at.upperBound...].split(separator: "'", maxSplits: 1).first.map { String($0) }
    }

    private static func shape(_ header: String) -> [Int]? {
        guard let open = header.range(of: "'shape': ("), let close = header[open.upperBound...].firstIndex(of: ")")
        else {
            return nil
        }
        let sizes = header[open.upperBound..<close].split(separator: ",")
            .map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }.map { Int($0) ?? -1 }
        var count = 1
        for size in sizes {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard size >= 0, !overflow else { return nil }
            count = product
        }
        return sizes
    }

    private static func elements(
        _ bytes: ArraySlice<UInt8>, _ descriptor: String, _ shape: [Int], _ place: String
    ) throws(CommandFailure) -> TensorValue {
        let count = shape.reduce(1, *)
        let width = Int(descriptor.dropFirst(2)).map { descriptor.hasPrefix("<U") ? $0 * 4 : $0 } ?? 0
        let (needed, overflow) = count.multipliedReportingOverflow(by: width)
        guard !overflow, needed <= bytes.count else { throw CommandFailure("\(place): fewer than \(count) elements") }
        switch descriptor {
        case "<f4":
            let values = (0..<count).map { Float(bitPattern: UInt32(truncatingIfNeeded: little(bytes, $0 * 4, 4))) }
            return TensorValue(shape: shape, floats: values)
        case "<f8":
            let values = (0..<count).map { Double(bitPattern: little(bytes, $0 * 8, 8)) }
            return TensorValue(type: .double, shape: shape, elements: .doubles(values))
        case "<i8":
            let values = (0..<count).map { Int64(bitPattern: little(bytes, $0 * 8, 8)) }
            return TensorValue(type: .int64, shape: shape, elements: .integers(values))
        case "<i4":
            let values = (0..<count).map { Int64(Int32(truncatingIfNeeded: little(bytes, $0 * 4, 4))) }
            return TensorValue(type: .int32, shape: shape, elements: .integers(values))
        case "|b1":
            let values = (0..<count).map { Int64(little(bytes, $0, 1)) }
            return TensorValue(type: .bool, shape: shape, elements: .integers(values))
        default:
            guard descriptor.hasPrefix("<U") else {
                throw CommandFailure(
                    "\(place): elements of type '\(descriptor)': save them as float32, float64, int32, int64, bool or str"
                )
            }
            let texts = (0..<count).map { index in
                var text = String.UnicodeScalarView()
                for position in 0..<width / 4 {
                    let code = UInt32(truncatingIfNeeded: little(bytes, index * width + position * 4, 4))
                    if code != 0, let scalar = Unicode.Scalar(code) { text.append(scalar) }
                }
                return String(text)
            }
            return TensorValue(type: .string, shape: shape, elements: .texts(texts))
        }
    }

    static func encoded(_ value: TensorValue) -> [UInt8] {
        var body: [UInt8] = []
        func append(_ word: UInt64, _ width: Int) {
            for index in 0..<width { body.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * index))) }
        }
        let descriptor: String
        switch value.elements {
        case .floats(let values):
            descriptor = "<f4"
            for number in values { append(UInt64(number.bitPattern), 4) }
        case .doubles(let values):
            descriptor = "<f8"
            for number in values { append(number.bitPattern, 8) }
        case .integers(let values):
            descriptor = "<i8"
            for number in values { append(UInt64(bitPattern: number), 8) }
        case .texts(let texts):
            let width = max(texts.map { $0.unicodeScalars.count }.max() ?? 1, 1)
            descriptor = "<U\(width)"
            for text in texts {
                let codes = text.unicodeScalars.map { UInt64($0.value) }
                for index in 0..<width { append(index < codes.count ? codes[index] : 0, 4) }
            }
        }
        let sizes = value.shape.map { "\($0)," }.joined(separator: " ")
        var header = "{'descr': '\(descriptor)', 'fortran_order': False, 'shape': (\(sizes)), }"
        // The data start at a multiple of 64.
        header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
        let length = header.utf8.count
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 0xff), UInt8(length >> 8)] + Array(header.utf8)
            + body
    }

    // MARK: .npz

    private static func members(
        _ bytes: [UInt8], _ path: String
    ) throws(CommandFailure) -> [(name: String, value: TensorValue)] {
        let damaged = CommandFailure("\(path): not a .npz file that numpy.savez wrote")
        guard
            let end = stride(from: bytes.count - 22, through: max(0, bytes.count - 65_557), by: -1).first(where: {
                bytes[$0...].starts(with: [0x50, 0x4b, 5, 6])
            })
        else { throw damaged }
        let count = Int(little(bytes[end...], 10, 2))
        var at = Int(little(bytes[end...], 16, 4))
        var result: [(name: String, value: TensorValue)] = []
        for _ in 0..<count {
            guard at + 46 <= end, bytes[at...].starts(with: [0x50, 0x4b, 1, 2]) else { throw damaged }
            let entry = bytes[at...]
            let nameLength = Int(little(entry, 28, 2))
            let rest = Int(little(entry, 30, 2)) + Int(little(entry, 32, 2))
            let local = Int(little(entry, 42, 4))
            let size = Int(little(entry, 24, 4))
            guard at + 46 + nameLength + rest <= end, local + 30 <= end else { throw damaged }
            let name = String(decoding: bytes[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self)
            guard little(entry, 10, 2) == 0 else {
                throw CommandFailure("\(path): '\(name)' is compressed: save it with numpy.savez")
            }
            let start = local + 30 + Int(little(bytes[local...], 26, 2)) + Int(little(bytes[local...], 28, 2))
            guard start <= end, size <= end - start else { throw damaged }
            result.append(
                (name.replacing(".npy", with: ""), try array(bytes[start..<start + size], "\(path), \(name)")))
            at += 46 + nameLength + rest
        }
        return result
    }

    static func archive(_ arrays: [(name: String, value: TensorValue)]) -> [UInt8] {
        var bytes: [UInt8] = []
        var directory: [UInt8] = []
        func word(_ value: Int, _ width: Int) -> [UInt8] {
            (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        for (name, value) in arrays {
            let file = Array("\(name).npy".utf8)
            let content = encoded(value)
            let common =
                word(20, 2) + word(0, 2) + word(0, 2) + word(0, 2) + word(0x21, 2) + word(Int(crc32(content)), 4)
                + word(content.count, 4) + word(content.count, 4) + word(file.count, 2) + word(0, 2)
            directory +=
                [0x50, 0x4b, 1, 2] + word(20, 2) + common + word(0, 2) + word(0, 2) + word(0, 2) + word(0, 4)
                + word(bytes.count, 4) + file
            bytes += [0x50, 0x4b, 3, 4] + common + file + content
        }
        let end =
            word(0, 2) + word(0, 2) + word(arrays.count, 2) + word(arrays.count, 2) + word(directory.count, 4)
            + word(bytes.count, 4) + word(0, 2)
        return bytes + directory + [0x50, 0x4b, 5, 6] + end
    }

    /// CRC-32 of ISO 3309, as ZIP uses it.
    private static func crc32(_ bytes: [UInt8]) -> UInt32 {
        let table = (0..<256).map { byte -> UInt32 in
            (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 != 0 ? 0xedb8_8320 ^ (crc >> 1) : crc >> 1 }
        }
        return ~bytes.reduce(~0 as UInt32) { table[Int(($0 ^ UInt32($1)) & 0xff)] ^ ($0 >> 8) }
    }
}
