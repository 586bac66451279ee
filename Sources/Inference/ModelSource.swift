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

    /// Lends the ONNX bytes. They must not be kept beyond the call.
    func withModelBytes<R>(_ body: (RawSpan) throws -> R) throws -> R
}

extension ModelSource {
    public var allocator: any WeightAllocator { HeapWeightAllocator() }
}
