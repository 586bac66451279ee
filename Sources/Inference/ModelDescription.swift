// ModelDescription: what `penstock model inspect` shows.

/// A loaded model in words and numbers; encodes to JSON as it stands.
public struct ModelDescription: Codable, Sendable, Equatable {
    public struct Value: Codable, Sendable, Equatable {
        public var name: String
        public var type: String
        /// The free batch dimension by its name in the model, then sizes.
        public var shape: [String]
    }

    public var graph: String
    public var producer: String
    public var irVersion: Int64
    /// Operator set versions by domain.
    public var opsets: [String: Int]
    public var inputs: [Value]
    public var outputs: [Value]
    public var nodes: Int
    public var parameters: Int
    public var bytes: Int
    /// The compiled steps in order.
    public var steps: [String]
    /// Class names when the labels are texts.
    public var classes: [String]?
    public var metadata: [String: String]
    /// Converter's mistakes that were tolerated.
    public var warnings: [String]

    /// The description as lines for a terminal.
    public var text: String {
        func line(_ values: [Value]) -> String {
            values.map { "\($0.name): \($0.type) [\($0.shape.joined(separator: ", "))]" }.joined(separator: "; ")
        }
        let opsets = self.opsets.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        var lines = [
            "graph       \(graph)", "producer    \(producer), IR version \(irVersion)",
            "opsets      \(opsets.joined(separator: ", "))", "inputs      \(line(inputs))",
            "outputs     \(line(outputs))", "nodes       \(nodes)", "parameters  \(parameters)", "bytes       \(bytes)",
            "steps       \(steps.joined(separator: " | "))",
        ]
        if let classes { lines.append("classes     \(classes.joined(separator: ", "))") }
        for warning in warnings { lines.append("warning     \(warning)") }
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { lines.append("metadata    \(key) = \(value)") }
        return lines.joined(separator: "\n")
    }
}
