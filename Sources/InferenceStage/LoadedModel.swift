// LoadedModel: a session with what the stage needs to turn its outputs into prediction records.

import EventContracts
public import Inference

/// A model that is ready to serve.
public struct LoadedModel {
    public let session: InferenceSession
    public let manifest: ModelManifest
    let scoring: Scoring
    let writer: PredictionWriter

    /// - Parameter threshold: the pipeline's decision threshold.
    init(session: InferenceSession, manifest: ModelManifest, threshold: Double) {
        self.session = session
        self.manifest = manifest
        scoring = Scoring(manifest.outputs, threshold: threshold)
        writer = PredictionWriter(model: manifest.name, modelVersion: manifest.version)
    }

    /// Loads, checks and warms a model up, so that the first batch is as fast as any.
    ///
    /// - Parameters:
    ///   - contractHash: of the pipeline's fitted features; a model for another contract is refused.
    ///   - recordsMax: of a micro-batch.
    public static func load(
        _ source: some ModelSource, contractHash: UInt64, threshold: Double, recordsMax: Int
    ) throws -> LoadedModel {
        let session = try InferenceSession.load(source, contractHash: contractHash)
        session.warmUp(batchSizes: [1, 32, 256, recordsMax])
        return LoadedModel(session: session, manifest: source.manifest, threshold: threshold)
    }
}
