// EventIdentifier: the event id as docs/formats.md describes it, computed anew.

import Cryptography

/// A UUID of 16 bytes in network order.
public struct EventIdentifier: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var bytes: [UInt8]

    /// - Parameter bytes: 16 of them.
    public init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    public init(high: UInt64, low: UInt64) {
        bytes = Bytes.big(high) + Bytes.big(low)
    }

    /// Reads the canonical text.
    public init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.count) == [8, 4, 4, 4, 12], text == text.lowercased(),
            let high = UInt64(parts[0...2].joined(), radix: 16), let low = UInt64(parts[3...4].joined(), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// Bits 0-47 the milliseconds, 48-51 the version 8, 52-63 from the digest's word 0, 64-65 the variant, 66-127 from
    /// the digest's word 1.
    init(milliseconds: Int64, digest: SHA256Digest) {
        let clamped = max(0, min(milliseconds, 0xffff_ffff_ffff))
        var text = Bytes.big(UInt64(clamped)).suffix(6).map { $0 }
        let first = Bytes.big(digest.words.0)
        text.append(0x80 | first[0] >> 4)
        text.append(first[0] << 4 | first[1] >> 4)
        let second = Bytes.big(digest.words.1 >> 2)
        text.append(0x80 | second[0])
        text += second.dropFirst()
        bytes = text
    }

    /// From the publisher's own source and id.
    init(source: String, id: String, eventTime: Int64) {
        let digest = SHA256.digest(
            of: Array("penstock:publisher:1".utf8) + Bytes.framed(source) + Bytes.framed(id))
        self.init(milliseconds: eventTime / 1_000, digest: digest)
    }

    /// From the place of the input record.
    init(clusterID: String, topic: String, origin: Origin, timestampMilliseconds: Int64) {
        let place =
            Bytes.little(UInt64(bitPattern: Int64(origin.partition)))
            + Bytes.little(UInt64(bitPattern: origin.offset))
        let digest = SHA256.digest(
            of: Array("penstock:position:1".utf8) + Bytes.framed(clusterID) + Bytes.framed(topic) + place)
        self.init(milliseconds: timestampMilliseconds, digest: digest)
    }

    public static func < (lhs: EventIdentifier, rhs: EventIdentifier) -> Bool {
        lhs.bytes.lexicographicallyPrecedes(rhs.bytes)
    }

    public var description: String {
        let digits = bytes.map { Bytes.hexadecimal(UInt64($0), width: 2) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }
}

/// Numbers and texts as bytes.
enum Bytes {
    static func big(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) } }

    static func little(_ value: UInt64) -> [UInt8] { big(value).reversed() }

    static func little(_ value: UInt16) -> [UInt8] { [UInt8(truncatingIfNeeded: value), UInt8(value >> 8)] }

    /// Length in bytes (u64, little-endian) and UTF-8 bytes.
    static func framed(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count)) + Array(text.utf8) }

    static func hexadecimal(_ value: UInt64, width: Int = 16) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    /// A little-endian number at `offset`, or nil outside the bytes.
    static func read<T: FixedWidthInteger>(_ type: T.Type, _ bytes: [UInt8], at offset: Int) -> T? {
        let size = T.bitWidth / 8
        guard offset >= 0, offset + size <= bytes.count else { return nil }
        return bytes[offset..<offset + size].reversed().reduce(T.zero) { $0 << 8 | T(truncatingIfNeeded: $1) }
    }
}
