// InferenceProcessor+Pipeline: the processor that a pipeline's contract asks for.

public import Inference
public import Observability
public import PipelineContract

extension InferenceProcessor {
    /// Loads the pipeline's model, checks that it belongs there, and warms it up.
    ///
    /// - Parameters:
    ///   - contractHash: of the fitted features (transform.json).
    ///   - stage: label of the metrics.
    /// - Throws: one error that names the mismatch: model name, contract, features, digest, outputs.
    public static func load(
        _ source: some ModelSource, for pipeline: Pipeline, contractHash: UInt64, registry: MetricsRegistry,
        stage: String = "inference"
    ) throws -> InferenceProcessor {
        let manifest = source.manifest
        guard manifest.name == pipeline.model.name else {
            throw ModelLoadError(
                .badManifest,
                "\(source.place): this is the model '\(manifest.name)', the pipeline \(pipeline.name) serves "
                    + "'\(pipeline.model.name)': mend `model.name` in pipeline.yaml or give the right artefacts")
        }
        let model = try LoadedModel.load(
            source, contractHash: contractHash, threshold: pipeline.model.decisionThreshold,
            recordsMax: pipeline.batching.recordsMax)
        let features = pipeline.features.columns.map(\.name)
        if let index = zip(features, manifest.features).enumerated().first(where: { $1.0 != $1.1 })?.offset {
            throw ModelLoadError(
                .featureMismatch,
                "\(source.place): feature \(index + 1) of the model is '\(manifest.features[index])', "
                    + "the pipeline's is '\(features[index])': train the model again")
        }
        guard features.count == manifest.features.count else {
            throw ModelLoadError(
                .featureMismatch,
                "\(source.place): the model takes \(manifest.features.count) features, the pipeline makes "
                    + "\(features.count): train the model again")
        }
        return InferenceProcessor(
            model: model, contractHash: contractHash,
            computeSeconds: registry.histogram(MetricNames.inferenceComputeSeconds, stage, manifest.name))
    }
}
