// EventIdentifier: the event id as docs/formats.md describes it, computed anew.

import Cryptography

/// A UUID of 16 bytes in network order.
public struct EventIdentifier: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Bytes 0-7 and 8-15, big-endian.
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads the canonical text.
    public init?(_ text: String) {
        let text = Array(text.utf8)
        guard text.count == 36 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (index, byte) in text.enumerated() {
            let digit: UInt8
            switch (index, byte) {
            case (8, UInt8(ascii: "-")), (13, UInt8(ascii: "-")), (18, UInt8(ascii: "-")), (23, UInt8(ascii: "-")):
                continue
            case (8, _), (13, _), (18, _), (23, _): return nil
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")): digit = byte - UInt8(ascii: "0")
            case (_, UInt8(ascii: "a")...UInt8(ascii: "f")): digit = byte - UInt8(ascii: "a") + 10
            default: return nil
            }
            // 16 digits stand before the third hyphen.
            if index < 18 { words.0 = words.0 << 4 | UInt64(digit) } else { words.1 = words.1 << 4 | UInt64(digit) }
        }
        self.init(high: words.0, low: words.1)
    }

    /// Bits 0-47 the milliseconds, 48-51 the version 8, 52-63 from the digest's word 0, 64-65 the variant, 66-127 from
    /// the digest's word 1.
    init(milliseconds: Int64, digest: SHA256Digest) {
        let clamped = UInt64(max(0, min(milliseconds, 0xffff_ffff_ffff)))
        self.init(
            high: clamped << 16 | 0x8000 | digest.words.0 >> 52, low: 0x8000_0000_0000_0000 | digest.words.1 >> 2)
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
        (lhs.high, lhs.low) < (rhs.high, rhs.low)
    }

    public var description: String {
        let digits = Bytes.hexadecimal(high) + Bytes.hexadecimal(low)
        let parts = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { digits.dropFirst($0.lowerBound).prefix($0.count) }
        return parts.joined(separator: "-")
    }
}

/// Numbers and texts as bytes.
enum Bytes {
    static func big(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) } }

    static func little(_ value: UInt64) -> [UInt8] { big(value).reversed() }

    static func little(_ value: UInt16) -> [UInt8] { [UInt8(truncatingIfNeeded: value), UInt8(value >> 8)] }

    /// Length in bytes (u64, little-endian) and UTF-8 bytes.
    static func framed(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count)) + Array(text.utf8) }

    /// Eight bytes as one number in network order, or nil outside the bytes.
    static func readBig(_ bytes: [UInt8], at offset: Int) -> UInt64? {
        read(UInt64.self, bytes, at: offset).map(\.byteSwapped)
    }

    static func hexadecimal(_ value: UInt64, width: Int = 16) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    /// A little-endian number at `offset`, or nil outside the bytes.
    static func read<T: FixedWidthInteger>(_ type: T.Type, _ bytes: [UInt8], at offset: Int) -> T? {
        let size = T.bitWidth / 8
        guard offset >= 0, offset + size <= bytes.count else { return nil }
        var value = T.zero
        for index in (offset..<offset + size).reversed() { value = value << 8 | T(truncatingIfNeeded: bytes[index]) }
        return value
    }
}
