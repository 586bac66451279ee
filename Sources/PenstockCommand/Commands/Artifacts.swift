// Artifacts: the fitted transform and the model of a pipeline.

import Foundation
import PipelineContract

struct Artifacts {
    let directory: String
    let transform: String
    let manifest: String
    /// The reference profile of the drift monitor.
    let reference: String
    /// The sealed model: the manifest's place with the extension `smc`.
    let container: String

    /// - Parameter override: replaces the folder of the paths in pipeline.yaml.
    init(pipeline: Pipeline, override: String?) {
        func place(_ path: String) -> String {
            guard let override else { return PipelineLocator.absolute(path) }
            return "\(PipelineLocator.absolute(override))/\((path as NSString).lastPathComponent)"
        }
        transform = place(pipeline.features.transformPath)
        manifest = place(pipeline.model.manifestPath)
        reference = place(pipeline.monitors.drift.referencePath)
        container = TrainedModelSealing.path(beside: manifest)
        directory = (manifest as NSString).deletingLastPathComponent
    }

    /// Transform and sealed model are there.
    var areComplete: Bool {
        [transform, container].allSatisfy { FileManager.default.fileExists(atPath: $0) }
    }

    /// - Parameter isSealed: whether the model must be sealed.
    func require(pipelinePath: String, isSealed: Bool) throws(CommandFailure) {
        let steps = [(transform, "fit"), isSealed ? (container, "train --seal") : (manifest, "train")]
        for (path, command) in steps where !FileManager.default.fileExists(atPath: path) {
            throw CommandFailure("\(path) is missing: make it with 'penstock \(command) \(pipelinePath)'")
        }
    }
}
