// PipelineTopics: the names of a pipeline's topics.

/// Topic names of one pipeline: `<prefix>.<pipeline>.<suffix>`.
public struct PipelineTopics: Sendable, Hashable {
    /// `<prefix>.<pipeline>`.
    public let root: String

    public init(prefix: String, pipeline: String) {
        root = "\(prefix).\(pipeline)"
    }

    public var inputs: String { "\(root).inputs" }
    public var events: String { "\(root).events" }
    public var duplicates: String { "\(root).duplicates" }
    public var features: String { "\(root).features" }
    public var predictions: String { "\(root).predictions" }

    /// The dead-letter topic of an input topic.
    public static func deadLetters(of topic: String) -> String { "\(topic).dlq" }

    /// Every topic of the pipeline, dead letters included.
    public var all: [String] {
        [
            inputs, events, duplicates, features, predictions, Self.deadLetters(of: inputs),
            Self.deadLetters(of: events), Self.deadLetters(of: features), Self.deadLetters(of: predictions),
        ]
    }
}
