// ModelMaker: fits and trains when there is no model yet that fits the pipeline.

import ArgumentParser
import Foundation
import Inference
import PipelineContract
import Transforms

struct ModelMaker {
    let contract: Pipeline
    let pipelinePath: String
    /// Where transform.json and model.json go.
    let folder: String

    /// The model that is there and fits, as `name version`.
    var present: String? {
        let artifacts = Artifacts(pipeline: contract, override: folder)
        var moved = contract
        moved.features.transformPath = artifacts.transform
        guard artifacts.areComplete, let transform = try? FeatureTransform(loadingFor: moved),
            let bytes = FileManager.default.contents(atPath: artifacts.manifest),
            let manifest = try? ModelManifest.decode(Array(bytes), path: artifacts.manifest),
            manifest.contractHash == transform.contractHash
        else { return nil }
        return "\(manifest.name) version \(manifest.version)"
    }

    /// Makes what is missing. The commands' own output goes to `descriptor`.
    /// - Parameters:
    ///   - fit: further arguments of `penstock fit`.
    ///   - train: of `penstock train`.
    func make(output descriptor: Int32 = 2, fit: [String] = [], train: [String] = []) throws {
        guard present == nil else { return }
        try withOutput(to: descriptor) {
            for (step, further) in [("fit", fit), ("train", train)] {
                var command = try Penstock.parseAsRoot([step, pipelinePath, "--artifacts", folder] + further)
                try command.run()
            }
        }
    }

    /// Runs `body` with standard output going elsewhere, so that a JSON report stays alone.
    private func withOutput(to descriptor: Int32, _ body: () throws -> Void) throws {
        guard descriptor != 1 else { return try body() }
        fflush(nil)
        let saved = dup(1)
        dup2(descriptor, 1)
        defer {
            fflush(nil)
            dup2(saved, 1)
            close(saved)
        }
        try body()
    }
}
