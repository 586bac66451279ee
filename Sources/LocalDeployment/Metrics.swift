// Metrics: reading the Prometheus text format of our own processes.

/// The samples of one scrape.
public struct Metrics: Sendable {
    public struct Sample: Sendable, Equatable {
        public var name: String
        public var labels: [String: String]
        public var value: Double
    }

    public let samples: [Sample]

    /// - Parameter name: keeps only samples whose name starts with it. The other lines are not read: worthwhile for who
    ///   looks many times a second.
    public init(text: String, named name: String = "") {
        samples = text.utf8.split(separator: 0x0a).filter { $0.starts(with: name.utf8) }
            .compactMap { Self.sample(Substring($0)) }
    }

    /// The sum over the samples of that name whose labels include `labels`.
    public func sum(_ name: String, _ labels: [String: String] = [:]) -> Double {
        samples.reduce(0) { total, sample in
            guard sample.name == name, labels.allSatisfy({ sample.labels[$0.key] == $0.value }) else { return total }
            return total + sample.value
        }
    }

    private static func sample(_ line: Substring) -> Sample? {
        guard !line.hasPrefix("#"), !line.isEmpty else { return nil }
        var labels: [String: String] = [:]
        var name = line.prefix { $0 != "{" && $0 != " " }
        var rest = line.dropFirst(name.count)
        if rest.first == "{" {
            rest = rest.dropFirst()
            while let character = rest.first, character != "}" {
                let key = rest.prefix { $0 != "=" }
                rest = rest.dropFirst(key.count + 2)
                var value = ""
                while let next = rest.first, next != "\"" {
                    rest = rest.dropFirst()
                    guard next == "\\", let escaped = rest.first else {
                        value.append(next)
                        continue
                    }
                    value.append(escaped == "n" ? "\n" : escaped)
                    rest = rest.dropFirst()
                }
                labels[key.trimmingPrefix(" ").description] = value
                rest = rest.dropFirst()
                if rest.first == "," { rest = rest.dropFirst() }
            }
            rest = rest.dropFirst()
        }
        guard let text = rest.split(separator: " ").first, let value = Double(text) else { return nil }
        name = name.trimmingPrefix(" ")
        return Sample(name: String(name), labels: labels, value: value)
    }
}
