// AllocationBudget: what a model may make the loader allocate, whatever its graph says.

import Synchronization
import Tensor

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
        try charge(count)
        return try allocator.allocate(count: count)
    }

    /// Counts elements that are allocated elsewhere: index maps.
    func charge(_ count: Int) throws(ONNXError) {
        let total = used.withLock { used in
            used += count
            return used
        }
        guard total <= elementsMax else {
            throw ONNXError(
                .tooLarge, "the model needs more memory than the limit weightElementsMax = \(elementsMax) elements")
        }
    }
}
