// Numbers: figures as people read them.

enum Numbers {
    /// 8232 -> "8,232".
    static func grouped(_ value: Int) -> String {
        let digits = String(value.magnitude)
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { result.append(",") }
            result.append(digit)
        }
        return value < 0 ? "-" + result : result
    }

    /// A number with a fixed count of decimals, rounded half away from zero.
    static func decimal(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite else { return value.isNaN ? "-" : value < 0 ? "-inf" : "inf" }
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = (abs(value) * scale).rounded()
        guard scaled < 9e15 else { return "\(value)" }
        let whole = Int(scaled)
        let sign = value < 0 && whole > 0 ? "-" : ""
        guard decimals > 0 else { return sign + String(whole) }
        let fraction = String(whole % Int(scale))
        return "\(sign)\(whole / Int(scale))." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    /// Seconds as milliseconds with a sensible number of digits.
    static func milliseconds(_ seconds: Double) -> String {
        let value = seconds * 1_000
        return decimal(value, abs(value) < 10 ? 2 : abs(value) < 1_000 ? 1 : 0)
    }

    static func bytes(_ value: Int64) -> String {
        value < 10 << 20
            ? "\(decimal(Double(value) / 1_024, 0)) KiB" : "\(decimal(Double(value) / 1_048_576, 0)) MiB"
    }
}
