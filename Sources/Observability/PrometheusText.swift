// PrometheusText: the Prometheus text exposition format 0.0.4.

extension MetricsRegistry.Family {
    func write(to text: inout String) {
        text += "# HELP \(definition.name) \(PrometheusText.escapeHelp(definition.help))\n"
        text += "# TYPE \(definition.name) \(kind)\n"
        for values in instruments.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            guard let instrument = instruments[values] else { continue }
            let labels = Array(zip(definition.labels, values))
            switch instrument {
            case .counter(let counter):
                text += PrometheusText.line(definition.name, labels, String(counter.value))
            case .gauge(let gauge):
                text += PrometheusText.line(definition.name, labels, PrometheusText.number(gauge.value))
            case .histogram(let histogram):
                write(histogram, labels, to: &text)
            }
        }
    }

    private func write(_ histogram: Histogram, _ labels: [(String, String)], to text: inout String) {
        let snapshot = histogram.snapshot
        var cumulative: UInt64 = 0
        for (index, count) in snapshot.counts.enumerated() {
            cumulative += count
            let bound = index < histogram.bounds.count ? PrometheusText.number(histogram.bounds[index]) : "+Inf"
            text += PrometheusText.line(definition.name + "_bucket", labels + [("le", bound)], String(cumulative))
        }
        text += PrometheusText.line(definition.name + "_sum", labels, PrometheusText.number(snapshot.sum))
        text += PrometheusText.line(definition.name + "_count", labels, String(cumulative))
    }
}

enum PrometheusText {
    static func line(_ name: String, _ labels: [(String, String)], _ value: String) -> String {
        guard !labels.isEmpty else { return "\(name) \(value)\n" }
        let list = labels.map { "\($0.0)=\"\(escapeLabel($0.1))\"" }.joined(separator: ",")
        return "\(name){\(list)} \(value)\n"
    }

    /// A label value: backslash, quote and line feed are escaped.
    static func escapeLabel(_ value: String) -> String {
        escape(value) { $0 == "\"" ? "\\\"" : nil }
    }

    /// A help text: backslash and line feed are escaped.
    static func escapeHelp(_ value: String) -> String {
        escape(value) { _ in nil }
    }

    private static func escape(_ value: String, _ special: (Unicode.Scalar) -> String?) -> String {
        var result = ""
        // Scalars, not characters: a carriage return and a line feed are one character.
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            default:
                if let text = special(scalar) { result += text } else { result.unicodeScalars.append(scalar) }
            }
        }
        return result
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        let isWhole = value == value.rounded() && abs(value) < 1e15
        return isWhole ? String(Int64(value)) : String(value)
    }
}
