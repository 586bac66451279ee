// Quantity: durations (`7d`, `5ms`) and sizes (`64KiB`) as they are written in pipeline.yaml.

enum Quantity {
    static let durationUnits: [(name: String, microseconds: Double)] = [
        ("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000),
        ("w", 604_800_000_000),
    ]

    static let sizeUnits: [(name: String, bytes: Double)] = [
        ("B", 1), ("KiB", 1_024), ("MiB", 1_048_576), ("GiB", 1_073_741_824), ("kB", 1_000), ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ]

    /// A duration in microseconds, or nil when the text is not a number with a unit.
    static func microseconds(_ text: String) -> Int64? {
        value(text, durationUnits.map { ($0.name, $0.microseconds) }).flatMap { Int64(exactly: $0.rounded()) }
    }

    /// A size in bytes, or nil when the text is not a number with a unit.
    static func bytes(_ text: String) -> Int? {
        value(text, sizeUnits.map { ($0.name, $0.bytes) }).flatMap { Int(exactly: $0.rounded()) }
    }

    private static func value(_ text: String, _ units: [(String, Double)]) -> Double? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text[digits.endIndex...].drop { $0 == " " }
        guard let first = digits.first, first != ".", digits.last != ".", let number = Double(digits),
            let factor = units.first(where: { $0.0 == unit })?.1
        else { return nil }
        let product = number * factor
        // 2^53: beyond it a Double no longer counts every unit.
        return product <= 9_007_199_254_740_992 ? product : nil
    }
}
