// LockedWeightAllocator: weights of a sealed model in protected memory, and their end.

public import SecureMemory
import Synchronization
public import Tensor

/// Gives each buffer pages of its own: guarded, out of core dumps, locked as the mode says.
public final class LockedWeightAllocator: WeightAllocator {
    private struct Held {
        weak var region: ProtectedRegion?
    }

    private let mode: LockMode
    private let held = Mutex<[Held]>([])

    public init(mode: LockMode) {
        self.mode = mode
    }

    public func allocate(count: Int) throws -> FloatBuffer {
        let region = try ProtectedRegion(byteCount: count * MemoryLayout<Float>.stride, mode: mode)
        held.withLock { held in
            held.removeAll { $0.region == nil }
            held.append(Held(region: region))
        }
        // The closure holds the region until the buffer has been zeroed and gives it back. The pages hold `count` floats.
        let base = region.start.bindMemory(to: Float.self, capacity: max(count, 1))
        return FloatBuffer(adopting: base, count: count) { _ in _ = region }
    }

    /// Whether every buffer is locked in memory.
    public var isLocked: Bool { held.withLock { $0.allSatisfy { $0.region.map { $0.kind != .unlocked } ?? true } } }

    /// Overwrites all weights now, whoever still holds a buffer. The model that uses them is worthless afterwards.
    public func wipe() {
        held.withLock { held in
            for entry in held { entry.region?.wipe() }
        }
    }
}
