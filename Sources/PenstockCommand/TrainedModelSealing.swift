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

    private struct EvaluationCard: Encodable {
        var model: String
        var version: String
        var contract: String
        var metrics: [String: Double]
        var training: ModelManifest.Training?
    }

    /// Seals manifest, ONNX file, transform with the feature contract, evaluation card, and the reference profile where
    /// there is one; nothing else is written.
    /// - Returns: the container's path: the manifest's with the extension `smc`.
    func seal(
        _ model: ExportedModel, transform transformPath: String, profile profilePath: String,
        beside manifestPath: String
    ) throws -> String {
        try keys.prepare()
        let path = Self.path(beside: manifestPath)
        let trainer = try KeyFile.publicKey(keys.trainerPublicPath).keyID
        let sealer = try keys.sealer()
        let manifest = model.manifest
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        let card = try encoder.encode(
            EvaluationCard(
                model: manifest.name, version: manifest.version, contract: manifest.contract,
                metrics: manifest.metrics, training: manifest.training))
        var inputs = [
            SealedInput(name: SealedModelFiles.manifest, bytes: try manifest.encoded()),
            SealedInput(name: manifest.onnx, bytes: model.onnx),
            SealedInput(name: SealedModelFiles.transform, path: transformPath),
            SealedInput(name: SealedModelFiles.evaluation, bytes: Array(card)),
        ]
        if FileManager.default.fileExists(atPath: profilePath) {
            inputs.append(SealedInput(name: SealedModelFiles.profile, path: profilePath))
        }
        _ = try sealer.seal(
            inputs, name: model.manifest.name, version: model.manifest.version,
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
