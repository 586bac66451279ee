// ModelMaker: fits and trains when there is no model yet that fits the pipeline.

import ArgumentParser
import Cryptography
import Foundation
import Inference
import PipelineContract
import Sealing
import Transforms

struct ModelMaker {
    let contract: Pipeline
    let pipelinePath: String
    /// Where transform.json and model.smc go.
    let folder: String
    /// Folder of owner.pem and trainer.pem; nil makes a model that is not sealed.
    let keys: String?

    /// The model that is there and fits, as `name version`.
    var present: String? {
        let artifacts = Artifacts(pipeline: contract, override: folder)
        var moved = contract
        moved.features.transformPath = artifacts.transform
        guard let transform = try? FeatureTransform(loadingFor: moved) else { return nil }
        return keys.map { presentSealed(artifacts, transform, keys: $0) } ?? presentUnsealed(artifacts, transform)
    }

    private func presentUnsealed(_ artifacts: Artifacts, _ transform: FeatureTransform) -> String? {
        guard let bytes = FileManager.default.contents(atPath: artifacts.manifest),
            let manifest = try? ModelManifest.decode(Array(bytes), path: artifacts.manifest),
            manifest.contractHash == transform.contractHash
        else { return nil }
        return "\(manifest.name) version \(manifest.version)"
    }

    private func presentSealed(_ artifacts: Artifacts, _ transform: FeatureTransform, keys: String) -> String? {
        guard let owner = try? KeyFile.publicKey(SealingKeys(folder: keys).ownerPublicPath),
            let container = try? SealedContainer(path: artifacts.container, trusting: TrustedOwners([owner])),
            let bytes = FileManager.default.contents(atPath: artifacts.transform),
            let sealed = container.header.files.first(where: { $0.path == SealedModelFiles.transform }),
            SHA256.digest(of: Array(bytes)).hexadecimal == sealed.sha256
        else { return nil }
        return "\(container.header.name) version \(container.header.version), sealed"
    }

    /// Makes what is missing. The commands' own output goes to `descriptor`.
    /// - Parameters:
    ///   - fit: further arguments of `penstock fit`.
    ///   - train: of `penstock train`.
    func make(output descriptor: Int32 = 2, fit: [String] = [], train: [String] = []) throws {
        guard present == nil else { return }
        try withOutput(to: descriptor) {
            for (step, further) in [("fit", fit), ("train", train + (keys.map { ["--seal", "--keys", $0] } ?? []))] {
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
