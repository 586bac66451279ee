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
    /// Labels as publishers send them.
    public var labelInputs: String { "\(root).label-inputs" }
    /// Labels in the internal format, keyed as the events that they belong to.
    public var labels: String { "\(root).labels" }
    /// What the monitors measure, as CloudEvents.
    public var monitoring: String { "\(root).monitoring" }
    /// The latest snapshot of each monitor, by the program's name. Compacted.
    public var monitorState: String { "\(root).monitor-state" }
    /// Every change of an alert and every decision of the reaction controller.
    public var alerts: String { "\(root).alerts" }
    /// The latest state of each alert, by fingerprint. Compacted.
    public var alertsCurrent: String { "\(root).alerts-current" }
    /// Requests to retrain the model.
    public var retraining: String { "\(root).retraining" }
    /// Events that wait for a person's review.
    public var review: String { "\(root).review" }
    /// Every event of the model registry, kept for ever.
    public var models: String { "\(root).models" }
    /// The latest event of each model version. Compacted.
    public var modelsCurrent: String { "\(root).models-current" }
    /// Heartbeats and figures of every process.
    public var telemetry: String { "\(root).telemetry" }
    /// Commands of people: acknowledgements, silences, approvals.
    public var control: String { "\(root).control" }

    /// The dead-letter topic of an input topic.
    public static func deadLetters(of topic: String) -> String { "\(topic).dlq" }

    /// The topics whose records may become dead letters.
    public var withDeadLetters: [String] { [inputs, events, features, predictions, labelInputs] }

    /// Topics that keep the latest record of each key instead of the latest days.
    public var compacted: [String] { [monitorState, alertsCurrent, modelsCurrent] }

    /// Every topic of the pipeline, dead letters included.
    public var all: [String] {
        [
            inputs, events, duplicates, features, predictions, labelInputs, labels, monitoring, monitorState, alerts,
            alertsCurrent, retraining, review, models, modelsCurrent, telemetry, control,
        ] + withDeadLetters.map(Self.deadLetters(of:))
    }
}
