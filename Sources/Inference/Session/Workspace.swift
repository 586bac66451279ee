// Workspace: the scratch memory of one run.

import Tensor

/// Memory for all intermediate values of a run of up to `rowsMax` rows, in one block of the allocator. One run at a
/// time uses it.
final class Workspace: @unchecked Sendable {
    let rowsMax: Int
    let texts: RunTexts
    private let block: FloatBuffer
    private let inputs: [FloatBuffer]
    /// By place. The block and the inputs live as long as the workspace, constants as long as the plan.
    private let pointers: UnsafeMutablePointer<UnsafeMutableRawPointer>
    private let inputPlaces: [Int]

    init(_ plan: Plan, rowsMax: Int, allocator: any WeightAllocator) throws {
        self.rowsMax = rowsMax
        block = try allocator.allocate(count: plan.memory.byteCount(rows: rowsMax) / 4 + 16)
        inputs = try plan.inputs.map {
            try allocator.allocate(count: $0.shape.count(rowsMax) * ($0.type.storage?.byteCount ?? 8) / 4 + 16)
        }
        let places = plan.memory.pointers(in: UnsafeMutableRawPointer(block.pointer), rows: rowsMax)
        pointers = .allocate(capacity: max(places.count, 1))
        pointers.initialize(from: places, count: places.count)
        inputPlaces = plan.memory.inputPlaces
        texts = RunTexts(TextTable(plan.texts))
        for index in inputs.indices { useOwnInput(index) }
    }

    deinit { pointers.deallocate() }

    /// Reads input `index` from memory of the caller, which outlives the run.
    @inline(__always)
    func useInput(_ index: Int, _ memory: UnsafeRawPointer) {
        pointers[inputPlaces[index]] = UnsafeMutableRawPointer(mutating: memory)
    }

    /// Reads input `index` from memory of this workspace.
    func useOwnInput(_ index: Int) { pointers[inputPlaces[index]] = UnsafeMutableRawPointer(inputs[index].pointer) }

    func input<T: BitwiseCopyable>(_ index: Int, _ type: T.Type = T.self) -> UnsafeMutablePointer<T> {
        UnsafeMutableRawPointer(inputs[index].pointer).assumingMemoryBound(to: T.self)
    }

    @inline(__always)
    func frame(rows: Int) -> Frame { Frame(rows: rows, pointers: UnsafePointer(pointers), texts: texts) }
}

extension MemoryPlan {
    /// Places of the inputs, in their order.
    var inputPlaces: [Int] {
        var result: [(Int, Int)] = []
        for (id, place) in places.enumerated() {
            if case .input(let index) = place.kind { result.append((index, id)) }
        }
        return result.sorted { $0.0 < $1.0 }.map(\.1)
    }
}
