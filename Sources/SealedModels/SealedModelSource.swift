// SealedModelSource: an opened sealed model as the inference engine takes it.

public import Inference
public import Sealing
public import Tensor

/// A model in protected memory. Made by `SealedModelLoader`.
public final class SealedModelSource: ModelSource, Sendable {
    public let manifest: ModelManifest
    public let place: String
    public var isSealed: Bool { true }
    public var allocator: any WeightAllocator { weights }
    /// The opened container: further files, such as the transform or the reference profile.
    public let model: OpenedModel
    /// What the owner's release document said.
    public let terms: ReleaseTerms
    public let weights: LockedWeightAllocator
    /// The evidence proved nothing (provider `sample`).
    public let isInsecure: Bool

    static let manifestName = "model.json"

    init(
        _ model: OpenedModel, terms: ReleaseTerms, weights: LockedWeightAllocator, isInsecure: Bool, place: String
    ) throws {
        guard let bytes = try model.copy(of: Self.manifestName, bytesMax: 4 << 20) else {
            throw SealingError(.badHeader, "\(place) holds no \(Self.manifestName): it is no model of Penstock")
        }
        manifest = try ModelManifest.decode(bytes, path: "\(place)/\(Self.manifestName)")
        self.model = model
        self.terms = terms
        self.weights = weights
        self.isInsecure = isInsecure
        self.place = place
    }

    /// The engine copies the weights into memory of `allocator` while it loads; the bytes stay in the protected arena.
    public func withModelBytes<R>(_ body: (RawSpan) throws -> R) throws -> R {
        guard let result = try model.withFile(manifest.onnx, body) else {
            throw SealingError(.badHeader, "\(place) holds no \(manifest.onnx), which its manifest names")
        }
        return result
    }

    /// Of the ONNX file, from the signed header; opening the container verified it.
    public var verifiedDigest: String? { model.header.files.first { $0.path == manifest.onnx }?.sha256 }

    /// The container's other files, for large tensors that stand beside the ONNX file.
    public var files: (any ModelFileTable)? { ContainerFiles(model: model) }

    /// Overwrites the container's files and all weights that came of them.
    public func wipe() {
        model.wipe()
        weights.wipe()
    }
}

/// Reads from the opened container; no path of a disk is ever used.
private struct ContainerFiles: ModelFileTable {
    let model: OpenedModel

    func size(of name: String) -> Int? { model.header.files.first { $0.path == name }.map { Int($0.size) } }

    func read(_ name: String, offset: Int, into target: UnsafeMutableRawBufferPointer) throws {
        let isThere: Void? = try model.withFile(name) { bytes in
            guard offset >= 0, target.count <= bytes.byteCount - offset else {
                throw SealingError(.badHeader, "the file '\(name)' ends before what the model reads of it")
            }
            bytes.extracting(offset..<offset + target.count).withUnsafeBytes { target.copyMemory(from: $0) }
        }
        guard isThere != nil else { throw SealingError(.badHeader, "the container holds no file '\(name)'") }
    }
}
