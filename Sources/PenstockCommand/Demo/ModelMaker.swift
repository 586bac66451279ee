// ModelMaker: fits and trains when there is no model yet that fits the pipeline.

import ArgumentParser
import Cryptography
import Foundation
import PipelineContract
import Sealing
import Transforms

struct ModelMaker {
    let contract: Pipeline
    let pipelinePath: String
    /// Where transform.json and model.smc go.
    let folder: String
    /// Folder of owner.pem and trainer.pem.
    let keys: String

    /// The model that is there and fits, as `name version`.
    var present: String? {
        let artifacts = Artifacts(pipeline: contract, override: folder)
        var moved = contract
        moved.features.transformPath = artifacts.transform
        guard artifacts.areComplete, let transform = try? FeatureTransform(loadingFor: moved),
            let owner = try? KeyFile.publicKey(SealingKeys(folder: keys).ownerPublicPath),
            let container = try? SealedContainer(path: artifacts.container, trusting: TrustedOwners([owner])),
            let bytes = FileManager.default.contents(atPath: artifacts.transform),
            let sealed = container.header.files.first(where: { $0.path == SealedModelFiles.transform }),
            SHA256.digest(of: Array(bytes)).hexadecimal == sealed.sha256, transform.featureCount > 0
        else { return nil }
        return "\(container.header.name) version \(container.header.version), sealed"
    }

    /// Makes what is missing. The commands' own output goes to `descriptor`.
    func make(output descriptor: Int32 = 2) throws {
        guard present == nil else { return }
        try withOutput(to: descriptor) {
            for step in [["fit"], ["train", "--seal", "--keys", keys]] {
                var command = try Penstock.parseAsRoot(step + [pipelinePath, "--artifacts", folder])
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
