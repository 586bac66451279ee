// EventTime: a time in JSON records, as RFC 3339 text.

/// Microseconds since the Unix epoch, written as `2021-06-01T00:00:00.000000Z`.
public struct EventTime: Sendable, Hashable, Comparable, Codable, CustomStringConvertible {
    public var microseconds: Int64

    public init(microseconds: Int64) { self.microseconds = microseconds }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        do {
            microseconds = try RFC3339.parse(Array(text.utf8).span.bytes)
        } catch {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "\"\(text)\" is not a time: \(error)")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    public var description: String { RFC3339.text(microseconds) }

    public static func < (lhs: EventTime, rhs: EventTime) -> Bool { lhs.microseconds < rhs.microseconds }

    /// The time `microseconds` later, at the ends of the range clamped.
    public func adding(microseconds other: Int64) -> EventTime {
        let (sum, overflow) = microseconds.addingReportingOverflow(other)
        return EventTime(microseconds: overflow ? (other < 0 ? .min : .max) : sum)
    }
}
