// ModelStore: where the versions of a model are kept and how they are opened.

public import EventContracts
public import Inference

/// What a model is opened for. A sealed model is released for the usages its owner allows only.
public enum ModelUsage: String, Sendable {
    case inference
    case finetune
}

/// A version to be written.
public struct NewModelVersion: Sendable {
    public var manifest: ModelManifest
    public var onnx: [UInt8]
    public var serial: UInt64
    /// The version that it was made from; nil for a first version.
    public var parent: ModelEvent.Parent?

    public init(manifest: ModelManifest, onnx: [UInt8], serial: UInt64, parent: ModelEvent.Parent?) {
        self.manifest = manifest
        self.onnx = onnx
        self.serial = serial
        self.parent = parent
    }
}

/// A model that is not registered yet.
public struct DescribedModel: Sendable {
    public var name: String
    public var version: String
    /// Feature contract hash, 16 hexadecimal digits.
    public var contract: String
    public var file: ModelEvent.File

    public init(name: String, version: String, contract: String, file: ModelEvent.File) {
        self.name = name
        self.version = version
        self.contract = contract
        self.file = file
    }
}

/// Opens and writes versions. The sealed store is the one for service; the unsealed one is for development.
public protocol ModelStore: Sendable {
    /// - Throws: why this file is not opened, in one sentence: missing, changed, not released.
    func open(_ file: ModelEvent.File, usage: ModelUsage) throws -> any ModelSource

    /// Checks a file without opening the model: that it is there and what the registry says it is.
    func verify(_ file: ModelEvent.File) throws

    /// What stands at the path that the pipeline names for its model, for the first entry of a registry.
    func describe(_ path: String) throws -> DescribedModel

    /// Writes a version. The same version gives the same place, so that doing it again after a crash changes nothing.
    func save(_ version: NewModelVersion) throws -> ModelEvent.File
}
