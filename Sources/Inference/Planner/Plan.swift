// Plan: the compiled model, and where its intermediate values stand in memory.

import Tensor

/// A compiled model: immutable, shared by concurrent runs.
struct Plan: Sendable {
    struct Input: Sendable {
        var name: String
        var type: ONNXElementType
        var shape: Shape
        var declared: [ONNXDimension]
    }

    struct Output: Sendable {
        var name: String
        var value: RuntimeValue
    }

    var inputs: [Input]
    var outputs: [Output]
    var steps: [any Step]
    var memory: MemoryPlan
    /// Texts by number.
    var texts: [String]
    var warnings: [String]
    var parameterCount: Int
}

/// Offsets of all intermediate values in one block of memory, made once: values that are not alive at the same time
/// share memory, and a result may take the memory of an operand that is read for the last time.
struct MemoryPlan: @unchecked Sendable {
    struct Slot: Sendable {
        /// Bytes from the start of the block for each row, and of the part that does not grow.
        var offset: Int
        var isBatched: Bool
    }

    /// Every place of the plan. Constants are kept alive here and only read.
    let places: [Place]
    /// By place; nil for inputs and constants.
    private(set) var slots: [Slot?]
    /// Bytes per row of the growing part.
    private(set) var bytesPerRow = 0
    private(set) var bytesFixed = 0

    private static let alignment = 64

    init(places: [Place], steps: [any Step], kept: [Int]) {
        self.places = places
        slots = Array(repeating: nil, count: places.count)
        var lastReader = [Int](repeating: -1, count: places.count)
        for (index, step) in steps.enumerated() {
            for id in step.reads { lastReader[id] = index }
        }
        for id in kept { lastReader[id] = steps.count }
        var batched = Region()
        var fixed = Region()
        for (index, step) in steps.enumerated() {
            for (position, id) in step.writes.enumerated() where slots[id] == nil {
                guard case .computed = places[id].kind else { continue }
                if position == 0, let source = step.overwrites, lastReader[source] == index,
                    case .computed = places[source].kind, let slot = slots[source],
                    places[source].shape.isBatched == places[id].shape.isBatched,
                    bytes(source) == bytes(id), !step.writes.contains(source)
                {
                    slots[id] = slot
                    lastReader[source] = -1
                    continue
                }
                let isBatched = places[id].shape.isBatched
                let offset = isBatched ? batched.take(bytes(id)) : fixed.take(bytes(id))
                slots[id] = Slot(offset: offset, isBatched: isBatched)
            }
            for id in Set(step.reads + step.writes)
            where slots[id] != nil && lastReader[id] <= index && lastReader[id] >= 0 {
                release(id, &batched, &fixed)
            }
            // Scratch and results that nobody reads.
            for id in step.writes where lastReader[id] == -1 && slots[id] != nil { release(id, &batched, &fixed) }
        }
        bytesPerRow = batched.size
        bytesFixed = fixed.size
    }

    private func release(_ id: Int, _ batched: inout Region, _ fixed: inout Region) {
        guard let slot = slots[id] else { return }
        if slot.isBatched { batched.release(slot.offset, bytes(id)) } else { fixed.release(slot.offset, bytes(id)) }
    }

    /// Bytes (per row) of a place.
    private func bytes(_ id: Int) -> Int { places[id].shape.unit * places[id].storage.byteCount }

    /// Bytes of the block for `rows` rows.
    func byteCount(rows: Int) -> Int {
        Self.rounded(bytesPerRow * rows) + Self.rounded(bytesFixed) + slots.count * Self.alignment
    }

    /// Pointers of all places in a block of `byteCount(rows:)` bytes.
    func pointers(in block: UnsafeMutableRawPointer, rows: Int) -> [UnsafeMutableRawPointer] {
        places.indices.map { id in
            if case .constant(let pointer, _) = places[id].kind { return pointer }
            guard let slot = slots[id] else { return block }
            return slot.isBatched
                ? block + slot.offset * rows : block + Self.rounded(bytesPerRow * rows) + slot.offset
        }
    }

    private static func rounded(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }

    /// Free ranges of one part of the block.
    private struct Region {
        var size = 0
        private var free: [Range<Int>] = []

        /// The smallest free range that fits, else new bytes at the end. Offsets stay multiples of 64, so that they are
        /// aligned for any number of rows.
        mutating func take(_ bytes: Int) -> Int {
            let bytes = MemoryPlan.rounded(max(bytes, 1))
            let best = free.indices.filter { free[$0].count >= bytes }.min { free[$0].count < free[$1].count }
            guard let best else {
                defer { size += bytes }
                return size
            }
            let start = free[best].lowerBound
            free[best] = start + bytes..<free[best].upperBound
            if free[best].isEmpty { free.remove(at: best) }
            return start
        }

        mutating func release(_ offset: Int, _ bytes: Int) {
            free.append(offset..<offset + MemoryPlan.rounded(max(bytes, 1)))
            free.sort { $0.lowerBound < $1.lowerBound }
            var merged: [Range<Int>] = []
            for range in free {
                if let last = merged.last, last.upperBound >= range.lowerBound {
                    merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
                } else {
                    merged.append(range)
                }
            }
            free = merged
        }
    }
}
