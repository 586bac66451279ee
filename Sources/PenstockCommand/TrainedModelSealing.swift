// TrainedModelSealing: `penstock train --seal`: a trained model goes from memory into its container.

import Foundation
import Inference
import LocalDeployment
import SealedModels
import Sealing
import Training

struct TrainedModelSealing {
    let keys: SealingKeys

    /// - Parameter keys: folder of owner.pem and trainer.pem; the data directory's unless given.
    init(keys folder: String?) {
        keys =
            folder.map { SealingKeys(folder: $0) }
            ?? SealingKeys(data: DataDirectory(explicit: nil, environment: ProcessInfo.processInfo.environment))
    }

    /// Seals manifest, ONNX file and transform; nothing else is written.
    /// - Returns: the container's path: the manifest's with the extension `smc`.
    func seal(_ model: ExportedModel, _ transformPath: String, beside manifestPath: String) throws -> String {
        try keys.prepare()
        let path = Self.path(beside: manifestPath)
        let trainer = try KeyFile.publicKey(keys.trainerPublicPath).keyID
        let sealer = try keys.sealer()
        _ = try sealer.seal(
            [
                SealedInput(name: SealedModelFiles.manifest, bytes: try model.manifest.encoded()),
                SealedInput(name: model.manifest.onnx, bytes: model.onnx),
                SealedInput(name: SealedModelFiles.transform, path: transformPath),
            ], name: model.manifest.name, version: model.manifest.version,
            contract: model.manifest.contract,
            usage: .init(allow: [.inference, .finetune], resealTo: [trainer], outputUsage: [.inference, .finetune]),
            to: path)
        return path
    }

    /// `model.json` -> `model.smc`.
    static func path(beside manifestPath: String) -> String {
        let base = manifestPath.hasSuffix(".json") ? String(manifestPath.dropLast(5)) : manifestPath
        return base + ".smc"
    }
}
