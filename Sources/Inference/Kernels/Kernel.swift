// Kernel: one step of a compiled model, and the scratch memory that steps share.

import Tensor

/// A compiled step. Reads and writes slots of the workspace; allocates nothing.
protocol Kernel: Sendable {
    /// One line for `describe()`.
    var summary: String { get }
    /// - Parameters:
    ///   - input: the model's input, row-major; slot 0.
    ///   - rows: rows of this call, at most what the workspace was made for.
    func run(_ workspace: Workspace, input: Span<Float>, rows: Int)
}

/// Where a value stands at run time.
enum Slot: Hashable, Sendable {
    /// A slot of Float32; 0 is the model's input, which is never written.
    case float(Int)
    case integer(Int)
}

/// Scratch memory of one session, reused by every run. Used by one thread at a time.
final class Workspace {
    private let floats: [FloatBuffer]
    private let integers: [IntegerBuffer]

    init(floats: [FloatBuffer], integers: [IntegerBuffer]) {
        self.floats = floats
        self.integers = integers
    }

    @inline(__always)
    func read<R>(_ slot: Int, _ count: Int, input: Span<Float>, _ body: (Span<Float>) -> R) -> R {
        slot == 0 ? body(input.extracting(0..<count)) : floats[slot].withSpan(first: count, body)
    }

    @inline(__always)
    func write<R>(_ slot: Int, _ count: Int, _ body: (inout MutableSpan<Float>) -> R) -> R {
        precondition(slot > 0, "the model's input is read-only")
        return floats[slot].withMutableSpan(first: count, body)
    }

    @inline(__always)
    func readIntegers<R>(_ slot: Int, _ count: Int, _ body: (Span<Int64>) -> R) -> R {
        integers[slot].withSpan(first: count, body)
    }

    @inline(__always)
    func writeIntegers<R>(_ slot: Int, _ body: (inout MutableSpan<Int64>) -> R) -> R {
        integers[slot].withMutableSpan(body)
    }
}
