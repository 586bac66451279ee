// AllocationTests: runs allocate nothing once they are warm, and all memory of a model comes from its allocator.

import CAllocationCounter
import Inference
import Synchronization
import Tensor
import Testing

@Suite("Memory of the engine")
struct AllocationTests {
    /// Allocations of ten warm runs.
    private func calls(_ session: InferenceSession, rows count: Int) -> UInt64 {
        let rows = [Float](repeating: 0.25, count: count * session.inputWidth)
        var outputs = InferenceOutputs()
        for _ in 0..<3 { session.run(rows.span, count: count, into: &outputs) }
        let before = allocation_count()
        for _ in 0..<10 { session.run(rows.span, count: count, into: &outputs) }
        return allocation_count() - before
    }

    @Test(
        "A warm run allocates nothing; unoptimised code boxes each step, whatever the number of rows",
        arguments: [
            "sklearn LogisticRegression two", "sklearn MLPClassifier", "XGBClassifier two", "sklearn GaussianNB",
            "sklearn SVC probability three", "sklearn RandomForestRegressor deep", "network BatchNorm Dropout opset 18",
        ])
    func steadyState(_ name: String) throws {
        let test = try #require(try ReferenceCase.load("models.bin").first { $0.name == name }, "\(name)")
        let session = try InferenceSession(test.model.span.bytes)
        let few = calls(session, rows: 1)
        #if !DEBUG
            #expect(few == 0, "one row")
            #expect(calls(session, rows: 600) == 0, "three blocks of rows")
        #endif
        for count in [7, 64, 256] { #expect(calls(session, rows: count) == few, "\(count) rows") }
    }

    @Test("The counter counts")
    func counter() {
        let before = allocation_count()
        let array = [Int](repeating: Int(before), count: 1_000)
        #expect(allocation_count() > before && array.count == 1_000)
    }

    /// Counts what is given out and not yet given back.
    private final class CountingAllocator: WeightAllocator {
        let alive = Mutex(0)
        let total = Mutex(0)

        func allocate(count: Int) throws -> FloatBuffer {
            alive.withLock { $0 += 1 }
            total.withLock { $0 += count }
            let base = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1) * 4, alignment: 64)
                .bindMemory(to: Float.self, capacity: max(count, 1))
            base.initialize(repeating: 0, count: max(count, 1))
            return FloatBuffer(adopting: base, count: count) { [self] pointer in
                alive.withLock { $0 -= 1 }
                pointer.deallocate()
            }
        }
    }

    @Test("Weights and scratch come from the given allocator and go back to it")
    func allocator() throws {
        for test in try ReferenceCase.load("models.bin") {
            let allocator = CountingAllocator()
            do {
                let session = try InferenceSession(test.model.span.bytes, allocator: allocator)
                #expect(allocator.total.withLock { $0 } >= session.describe().parameters, "\(test.name)")
            }
            #expect(allocator.alive.withLock { $0 } == 0, "\(test.name)")
        }
    }

    @Test("Several threads run one session at once and get what one thread gets")
    func concurrent() async throws {
        let test = try #require(try ReferenceCase.load("models.bin").first { $0.name == "XGBClassifier three" })
        let session = try InferenceSession(test.model.span.bytes)
        var random = SeededGenerator(seed: 9)
        let rows = (0..<400 * session.inputWidth).map { _ in Float.random(in: -2...2, using: &random) }
        let expected = session.run(rows, count: 400).columns.map(\.floats)
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    (0..<20).allSatisfy { _ in session.run(rows, count: 400).columns.map(\.floats) == expected }
                }
            }
            for await isEqual in group { #expect(isEqual) }
        }
    }
}
