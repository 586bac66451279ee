// UnsealedModelStore: versions as plain files, for development.

public import EventContracts
public import Inference
import Transforms

/// Keeps each version as `<folder>/<name>-<serial>-<version>/model.json` with the ONNX file beside it. Whoever reads the
/// disk can read the models.
public struct UnsealedModelStore: ModelStore {
    private let folder: String
    private let warn: @Sendable (String) -> Void

    /// - Parameters:
    ///   - folder: absolute path; made when the first version is written.
    ///   - warn: gets one loud sentence per opened model.
    public init(folder: String, warn: @escaping @Sendable (String) -> Void) {
        self.folder = folder
        self.warn = warn
    }

    public func open(_ file: ModelEvent.File, usage: ModelUsage) throws -> any ModelSource {
        guard !file.isSealed else {
            throw ModelLoadError(
                .unreadable, "\(file.location): the model is sealed: give the key broker's address to open it")
        }
        let source = try UnsealedFileSource(manifestPath: file.location, warn: warn)
        guard source.manifest.onnxSHA256 == file.sha256 else {
            throw ModelLoadError(
                .digestMismatch,
                "\(file.location): the model's SHA-256 is \(source.manifest.onnxSHA256), the registry says \(file.sha256): "
                    + "the file was replaced")
        }
        return source
    }

    public func verify(_ file: ModelEvent.File) throws {
        let source = try open(file, usage: .inference)
        _ = try InferenceSession.load(source, contractHash: nil)
    }

    public func save(_ version: NewModelVersion) throws -> ModelEvent.File {
        let manifest = version.manifest
        let place = "\(folder)/\(manifest.name)-\(version.serial)-\(manifest.version)"
        try AtomicFile.write(version.onnx, to: "\(place)/\(manifest.onnx)")
        try AtomicFile.write(try manifest.encoded(), to: "\(place)/model.json")
        return Self.file(manifest, at: "\(place)/model.json", bytes: version.onnx.count)
    }

    public func describe(_ path: String) throws -> DescribedModel {
        let source = try UnsealedFileSource(manifestPath: path, warn: warn)
        let manifest = source.manifest
        let bytes = try source.withModelBytes { $0.byteCount }
        return DescribedModel(
            name: manifest.name, version: manifest.version, contract: manifest.contract,
            file: Self.file(manifest, at: path, bytes: bytes))
    }

    private static func file(_ manifest: ModelManifest, at path: String, bytes: Int) -> ModelEvent.File {
        ModelEvent.File(location: path, sha256: manifest.onnxSHA256, bytes: bytes, isSealed: false)
    }
}
