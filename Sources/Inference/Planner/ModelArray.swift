// ModelArray: fixed memory of the weight allocator for values of any plain type.

import Synchronization
import Tensor

/// Plain values: no references, no pointers.
typealias PlainValue = BitwiseCopyable & Sendable

/// `count` elements in a buffer of the weight allocator. Model values live in these rather than in arrays, so that they
/// never stand on the ordinary heap; the buffer is wiped when the last reference is gone.
///
/// Sendable by agreement: written while a plan is made, or by the one run that uses the workspace it belongs to.
struct ModelArray<Element: BitwiseCopyable>: RandomAccessCollection, @unchecked Sendable {
    let count: Int
    /// Valid while this array is held.
    let pointer: UnsafeMutablePointer<Element>
    private let buffer: FloatBuffer

    init(count: Int, _ allocator: any WeightAllocator) throws {
        let floats = (count * MemoryLayout<Element>.stride + 3) / 4
        buffer = try allocator.allocate(count: Swift.max(floats, 1))
        self.count = count
        // The buffer is ours alone and holds plain values.
        pointer = UnsafeMutableRawPointer(buffer.pointer).bindMemory(to: Element.self, capacity: Swift.max(count, 1))
    }

    init(_ elements: [Element], _ allocator: any WeightAllocator) throws {
        try self.init(count: elements.count, allocator)
        for (index, element) in elements.enumerated() { pointer[index] = element }
    }

    subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count, "outside the array")
            return pointer[index]
        }
        nonmutating set {
            precondition(index >= 0 && index < count, "outside the array")
            pointer[index] = newValue
        }
    }

    var startIndex: Int { 0 }
    var endIndex: Int { count }

    /// The bytes, valid while this array is held.
    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: pointer, count: count * MemoryLayout<Element>.stride)
    }
}

/// Passes allocations on until the budget is used up. A small file can ask for much: a constant broadcast again and
/// again, a wide product.
final class AllocationBudget: WeightAllocator {
    private let allocator: any WeightAllocator
    private let elementsMax: Int
    private let used = Mutex(0)

    init(_ allocator: any WeightAllocator, elementsMax: Int) {
        self.allocator = allocator
        self.elementsMax = elementsMax
    }

    func allocate(count: Int) throws -> FloatBuffer {
        let total = used.withLock { used in
            used = used.addingReportingOverflow(count).partialValue
            return used
        }
        guard total >= 0, total <= elementsMax, count <= elementsMax else {
            throw ONNXError(
                .tooLarge, "the model needs more memory than the limit weightElementsMax = \(elementsMax) elements")
        }
        return try allocator.allocate(count: count)
    }
}
