// MetricDefinition: a metric's name, meaning and labels.

/// A metric before it has a value. All of them stand in `MetricNames`.
public struct MetricDefinition: Hashable, Sendable {
    public var name: String
    /// One sentence for a person who sees the name on a dashboard.
    public var help: String
    /// Names of the labels, in the order in which values are given.
    public var labels: [String]

    public init(_ name: String, _ help: String, labels: [String] = []) {
        self.name = name
        self.help = help
        self.labels = labels
    }
}
