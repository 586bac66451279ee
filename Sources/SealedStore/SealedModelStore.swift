// SealedModelStore: versions of a model as sealed containers.

public import EventContracts
import FoundationEssentials
import Glibc
public import Inference
public import ModelStore
public import SealedModels
public import Sealing

/// Keeps each version as `<folder>/<name>-<serial>-<version>.smc`. A version is opened through the key broker; a new one is
/// sealed in the name of its parent's owner, its key handed to the broker before the file appears.
public struct SealedModelStore: ModelStore {
    private let folder: String
    /// The pipeline's own model, the first parent.
    private let basePath: String
    private let owners: TrustedOwners
    private let inference: SealedModelLoader?
    private let finetune: SealedModelLoader?
    private let sealer: ModelSealer?
    private let onOpen: @Sendable (SealedModelSource) -> Void

    /// - Parameters:
    ///   - folder: absolute path; made when the first version is written.
    ///   - basePath: of the pipeline's manifest; the container stands beside it.
    ///   - access: to the key broker; nil for a store that only verifies.
    ///   - sealer: signs new versions; nil for a store that writes none.
    ///   - onOpen: gets each opened model.
    public init(
        folder: String, basePath: String, owners: TrustedOwners, access: SealedModelAccess?, sealer: ModelSealer?,
        onOpen: @escaping @Sendable (SealedModelSource) -> Void = { _ in }
    ) {
        self.folder = folder
        self.basePath = Self.container(beside: basePath)
        self.owners = owners
        inference = access.map { SealedModelLoader($0.with(.inference)) }
        finetune = access.map { SealedModelLoader($0.with(.finetune)) }
        self.sealer = sealer
        self.onOpen = onOpen
    }

    /// `model.json` -> `model.smc`.
    public static func container(beside manifestPath: String) -> String {
        (manifestPath.hasSuffix(".json") ? String(manifestPath.dropLast(5)) : manifestPath) + ".smc"
    }

    public func open(_ file: ModelEvent.File, usage: ModelUsage) throws -> any ModelSource {
        try verify(file)
        guard let loader = usage == .finetune ? finetune : inference else {
            throw ModelLoadError(.unreadable, "\(file.location): this process opens no sealed models")
        }
        let source = try loader.open(file.location)
        onOpen(source)
        return source
    }

    /// Asks the key broker again for a version that is open.
    public func renew(_ location: String) throws -> ReleaseTerms {
        guard let inference else {
            throw ModelLoadError(.unreadable, "\(location): this process opens no sealed models")
        }
        return try inference.renew(location)
    }

    /// Opens a container for inference, whatever the registry says of it: the pipeline's own, or one that was lost.
    public func open(at location: String) throws -> SealedModelSource {
        guard let inference else {
            throw ModelLoadError(.unreadable, "\(location): this process opens no sealed models")
        }
        let source = try inference.open(location)
        onOpen(source)
        return source
    }

    /// The pipeline's own model.
    public func openBase() throws -> SealedModelSource { try open(at: basePath) }

    /// Signature, lineage, and that the file is the one of the registry.
    public func verify(_ file: ModelEvent.File) throws {
        guard file.isSealed else {
            throw ModelLoadError(
                .unreadable, "\(file.location): the model is not sealed: only sealed versions are served here")
        }
        _ = try SealedContainer(path: file.location, trusting: owners)
        let digest = try SealedContainer.fileDigest(file.location)
        guard digest == file.sha256 else {
            throw ModelLoadError(
                .digestMismatch,
                "\(file.location): the container's SHA-256 is \(digest), the registry says \(file.sha256): the file was "
                    + "replaced")
        }
    }

    public func describe(_ path: String) throws -> DescribedModel {
        let path = path.hasSuffix(".smc") ? path : Self.container(beside: path)
        let header = try SealedContainer(path: path, trusting: owners).header
        guard let contract = header.contract else {
            throw ModelLoadError(.badManifest, "\(path): the header names no feature contract: seal the model anew")
        }
        return DescribedModel(
            name: header.name, version: header.version, contract: contract, file: try Self.file(at: path))
    }

    public func save(_ version: NewModelVersion) throws -> ModelEvent.File {
        let manifest = version.manifest
        let place = "\(folder)/\(manifest.name)-\(version.serial)-\(manifest.version).smc"
        if access(place, F_OK) == 0 {
            _ = try SealedContainer(path: place, trusting: owners)
            return try Self.file(at: place)
        }
        guard let sealer, let broker = finetune?.access.broker else {
            throw ModelLoadError(.unreadable, "\(place): this process seals no models: name the trainer's key")
        }
        let parent = try parent(of: version)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let pending = "\(place).pending"
        let result = try sealer.reseal(
            [
                SealedInput(name: "model.json", bytes: try manifest.encoded()),
                SealedInput(name: manifest.onnx, bytes: version.onnx),
            ], version: manifest.version, contract: manifest.contract, parent: parent, to: pending)
        do {
            try sealer.register(result.header, headerSHA256: result.headerSHA256, key: result.key, at: broker)
        } catch {
            unlink(pending)
            throw error
        }
        guard rename(pending, place) == 0 else {
            throw ModelLoadError(.unreadable, "\(place) cannot be written: \(String(cString: strerror(errno)))")
        }
        return try Self.file(at: place)
    }

    /// The container that the new version was made from.
    private func parent(of version: NewModelVersion) throws -> SealedContainer {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter {
            $0.hasSuffix(".smc")
        }
        let paths = [basePath] + names.sorted().map { "\(folder)/\($0)" }
        for path in paths {
            guard let container = try? SealedContainer(path: path, trusting: owners),
                container.header.name == version.manifest.name,
                version.parent.map({ $0.version == container.header.version }) ?? true
            else { continue }
            return container
        }
        throw ModelLoadError(
            .unreadable,
            "\(version.manifest.name) \(version.manifest.version): its parent "
                + "\(version.parent?.version ?? "-") is neither \(basePath) nor in \(folder)")
    }

    private static func file(at path: String) throws -> ModelEvent.File {
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
        return ModelEvent.File(
            location: path, sha256: try SealedContainer.fileDigest(path), bytes: size, isSealed: true)
    }
}
