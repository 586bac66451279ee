// ModelSource: where a model's bytes come from, and the unsealed file as the source for development.

public import Tensor

/// Gives a model's manifest and bytes. The sealed loader is another conformer: it opens the model in locked memory and
/// gives the bytes for the duration of `withModelBytes` only.
public protocol ModelSource {
    var manifest: ModelManifest { get }
    /// Memory for the weights. Sealed models pass locked memory.
    var allocator: any WeightAllocator { get }
    /// Where the model stands, for messages.
    var place: String { get }
    /// False for a model whose weights stand readable on a disk; consumers say so loudly.
    var isSealed: Bool { get }

    /// The files that the model's external data may name; nil when the model must stand in one file.
    var files: (any ModelFileTable)? { get }

    /// SHA-256 of the ONNX file where the source has verified it already, 64 hexadecimal digits; nil to have it computed.
    var verifiedDigest: String? { get }

    /// Lends the ONNX bytes. They must not be kept beyond the call.
    func withModelBytes<R>(_ body: (RawSpan) throws -> R) throws -> R
}

extension ModelSource {
    public var allocator: any WeightAllocator { HeapWeightAllocator() }
    public var files: (any ModelFileTable)? { nil }
    public var verifiedDigest: String? { nil }
}

/// The files beside a model that hold its large tensors: those of a sealed container, never paths of a disk.
public protocol ModelFileTable {
    /// Bytes of the file of that name, nil when there is none.
    func size(of name: String) -> Int?
    /// Copies the bytes from `offset` on into the target, all of it; the range was checked against `size(of:)`.
    func read(_ name: String, offset: Int, into target: UnsafeMutableRawBufferPointer) throws
}
