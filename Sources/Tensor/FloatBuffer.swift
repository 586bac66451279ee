// FloatBuffer: a fixed block of Float32 memory with one owner, and where such memory comes from.

/// A fixed-size block of Float32, aligned to 64 bytes when it comes from `HeapWeightAllocator`.
///
/// Unlike an array it never moves and is never copied behind the owner's back, so that a model's weights stay in the
/// memory (locked, later) that they were put into. It is zeroed before it is given back.
///
/// Sendable by agreement: a buffer is written by one thread at a time, and weights only while a session is built.
@safe public final class FloatBuffer: @unchecked Sendable {
    public let count: Int
    private let base: UnsafeMutablePointer<Float>
    private let release: @Sendable (UnsafeMutableRawPointer) -> Void

    /// Takes over `count` initialised floats at `base`. `release` is called once, after they were zeroed.
    @unsafe
    public init(
        adopting base: UnsafeMutablePointer<Float>, count: Int,
        release: @escaping @Sendable (UnsafeMutableRawPointer) -> Void
    ) {
        unsafe self.base = unsafe base
        self.count = count
        unsafe self.release = unsafe release
    }

    deinit {
        // The memory is ours until `release`, which runs once, here.
        unsafe base.update(repeating: 0, count: count)
        unsafe release(UnsafeMutableRawPointer(base))
    }

    /// The memory itself, valid while the caller holds the buffer. For kernels that take addresses.
    @unsafe public var pointer: UnsafeMutablePointer<Float> { unsafe base }

    /// Borrows the elements. The span lives as long as the buffer, which the caller holds.
    @inline(__always)
    public func withSpan<R, E: Error>(_ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
        try unsafe body(Span(_unsafeStart: base, count: count))
    }

    /// Borrows the first `count` elements.
    @inline(__always)
    public func withSpan<R, E: Error>(first count: Int, _ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
        precondition(count >= 0 && count <= self.count, "more elements than the buffer has")
        return try unsafe body(Span(_unsafeStart: base, count: count))
    }

    /// Borrows the first `count` elements to write; nobody else may read or write this buffer meanwhile.
    @inline(__always)
    public func withMutableSpan<R, E: Error>(
        first count: Int, _ body: (inout MutableSpan<Float>) throws(E) -> R
    ) throws(E) -> R {
        precondition(count >= 0 && count <= self.count, "more elements than the buffer has")
        var span = unsafe MutableSpan(_unsafeStart: base, count: count)
        return try body(&span)
    }

    /// Borrows the elements to write; nobody else may read or write this buffer meanwhile.
    @inline(__always)
    public func withMutableSpan<R, E: Error>(_ body: (inout MutableSpan<Float>) throws(E) -> R) throws(E) -> R {
        var span = unsafe MutableSpan(_unsafeStart: base, count: count)
        return try body(&span)
    }
}

/// Gives memory for everything that holds a model's values at load and at run time: packed weights, thresholds and
/// leaves, constants, intermediate results. The sealed loader passes one that locks its pages, keeps them out of core
/// dumps and wipes them. Buffers are raw memory to the engine (it keeps integers and structures in them too).
public protocol WeightAllocator: Sendable {
    /// - Returns: a zeroed buffer of `count` floats, its address a multiple of 64.
    func allocate(count: Int) throws -> FloatBuffer
}

/// Ordinary heap memory, aligned to a cache line.
public struct HeapWeightAllocator: WeightAllocator {
    public init() {}

    public func allocate(count: Int) throws -> FloatBuffer {
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64)
        let base = unsafe raw.bindMemory(to: Float.self, capacity: max(count, 1))
        unsafe base.initialize(repeating: 0, count: count)
        return unsafe FloatBuffer(adopting: base, count: count) { pointer in unsafe pointer.deallocate() }
    }
}
