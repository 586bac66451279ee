// EventID: the 128-bit identity of an event, sortable by time (UUID version 8, RFC 9562 section 5.8).

public import Cryptography

/// 48 bits of milliseconds since the Unix epoch, then 74 bits of a SHA-256, with version 8 and the RFC variant set.
/// The same (time, source, id) gives the same event id wherever and whenever it arrives. Layout: docs/formats.md.
public struct EventID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Bytes 0...7 as a big-endian number.
    public var high: UInt64
    /// Bytes 8...15 as a big-endian number.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// - Parameters:
    ///   - milliseconds: since the Unix epoch; values outside 0 ..< 2^48 are clamped.
    ///   - digest: at least 10 bytes of hash are used, taken from the first two words of the SHA-256 (big-endian).
    public init(milliseconds: Int64, digest: SHA256Digest) {
        let time = UInt64(min(max(milliseconds, 0), (1 << 48) - 1))
        high = time << 16 | 0x8000 | (digest.words.0 >> 52)
        low = 0x8000_0000_0000_0000 | (digest.words.1 >> 2)
    }

    /// The time part, milliseconds since the Unix epoch.
    public var milliseconds: Int64 { Int64(high >> 16) }

    /// The smallest id of that millisecond: bounds of a time-range partition.
    public static func lowerBound(milliseconds: Int64) -> EventID {
        EventID(high: UInt64(min(max(milliseconds, 0), (1 << 48) - 1)) << 16, low: 0)
    }

    public static func < (lhs: EventID, rhs: EventID) -> Bool {
        lhs.high == rhs.high ? lhs.low < rhs.low : lhs.high < rhs.high
    }

    /// Lower-case 8-4-4-4-12 form.
    public var description: String {
        var bytes: [UInt8] = []
        appendText(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Appends the 36 ASCII characters of the canonical form.
    public func appendText(to bytes: inout [UInt8]) { bytes.append(atMost: 36) { $0.put(self) } }

    /// Reads the canonical form in lower case, as `appendText` writes it; nil for anything else.
    public init?(canonical text: RawSpan) {
        guard text.byteCount == 36, text.little(UInt8.self, at: 8) == 0x2d, text.little(UInt8.self, at: 13) == 0x2d,
            text.little(UInt8.self, at: 18) == 0x2d, text.little(UInt8.self, at: 23) == 0x2d,
            let first = Hexadecimal.number(of: text.little(UInt64.self, at: 0)),
            let second = Self.digits(text, 9, 14), let third = Self.digits(text, 19, 24),
            let fourth = Hexadecimal.number(of: text.little(UInt64.self, at: 28))
        else { return nil }
        high = UInt64(first) << 32 | UInt64(second)
        low = UInt64(third) << 32 | UInt64(fourth)
    }

    /// Two groups of four digits as one number.
    @inline(__always)
    private static func digits(_ text: RawSpan, _ first: Int, _ second: Int) -> UInt32? {
        Hexadecimal.number(
            of: UInt64(text.little(UInt32.self, at: first)) | UInt64(text.little(UInt32.self, at: second)) << 32)
    }
}
