// IntegerBuffer: a fixed block of Int64 scratch memory with one owner.

/// Scratch for class labels. Sendable by agreement: one thread at a time uses it.
@safe public final class IntegerBuffer: @unchecked Sendable {
    public let count: Int
    private let storage: UnsafeMutableBufferPointer<Int64>

    public init(count: Int) {
        self.count = count
        let storage = UnsafeMutableBufferPointer<Int64>.allocate(capacity: max(count, 1))
        unsafe storage.initialize(repeating: 0)
        unsafe self.storage = unsafe storage
    }

    deinit { unsafe storage.deallocate() }

    /// Borrows the first `count` elements. The span lives as long as the buffer, which the caller holds.
    public func withSpan<R, E: Error>(first count: Int, _ body: (Span<Int64>) throws(E) -> R) throws(E) -> R {
        precondition(count >= 0 && count <= self.count, "more elements than the buffer has")
        return try unsafe body(Span(_unsafeElements: storage).extracting(0..<count))
    }

    /// Borrows the elements to write; nobody else may read or write this buffer meanwhile.
    public func withMutableSpan<R, E: Error>(_ body: (inout MutableSpan<Int64>) throws(E) -> R) throws(E) -> R {
        var span = unsafe MutableSpan(_unsafeElements: storage)
        return try body(&span)
    }
}
