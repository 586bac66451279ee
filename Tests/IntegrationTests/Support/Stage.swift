// Stage: the four consumers of the pipeline.

import EventContracts
import PipelineContract

enum Stage: String, CaseIterable, Sendable {
    case ingest, transform, inference, sink

    var program: String {
        switch self {
        case .ingest: "ingest-consumer"
        case .transform: "transform-consumer"
        case .inference: "inference-consumer"
        case .sink: "prediction-sink"
        }
    }

    /// Fused stages work in the first one's group.
    func group(in fusion: StageFusion) -> String {
        self == .inference ? fusion.absorbedStages.first ?? rawValue : rawValue
    }

    func inputTopic(of topics: PipelineTopics) -> String {
        switch self {
        case .ingest: topics.inputs
        case .transform: topics.events
        case .inference: topics.features
        case .sink: topics.predictions
        }
    }
}
