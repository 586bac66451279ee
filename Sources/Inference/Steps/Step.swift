// Step: one compiled operation, and what it sees of memory while it runs.

import Tensor

/// A compiled operation. Allocates nothing; sizes follow from the number of rows.
protocol Step: Sendable {
    /// One line for `describe()`.
    var summary: String { get }
    var reads: [Int] { get }
    var writes: [Int] { get }
    /// A read place whose memory the first result may take when nobody reads it later: elements are used in order.
    var overwrites: Int? { get }
    func run(_ frame: Frame)
}

extension Step {
    var overwrites: Int? { nil }
}

/// The memory of one run. Every pointer stays valid for the run: inputs are the caller's, constants the plan's, the rest
/// the workspace's, which has room for the most rows a run may have.
struct Frame {
    let rows: Int
    let pointers: UnsafePointer<UnsafeMutableRawPointer>
    let texts: RunTexts

    @inline(__always)
    func pointer<T: PlainValue>(_ id: Int, _ type: T.Type = T.self) -> UnsafeMutablePointer<T> {
        pointers[id].assumingMemoryBound(to: T.self)
    }

    @inline(__always)
    func floats(_ id: Int) -> UnsafeMutablePointer<Float> { pointers[id].assumingMemoryBound(to: Float.self) }

    @inline(__always)
    func integers(_ id: Int) -> UnsafeMutablePointer<Int64> { pointers[id].assumingMemoryBound(to: Int64.self) }

    /// Pointers of constant places, for folding; the others must not be used.
    static func withPointers(_ places: [Place], _ body: (UnsafePointer<UnsafeMutableRawPointer>) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 1) { unused in
            guard let nowhere = unused.baseAddress else { return }
            let pointers = places.map { place -> UnsafeMutableRawPointer in
                if case .constant(let pointer, _) = place.kind { return pointer }
                return UnsafeMutableRawPointer(nowhere)
            }
            pointers.withUnsafeBufferPointer { pointers in
                if let base = pointers.baseAddress { body(base) }
            }
        }
    }
}

/// Texts during a run: the plan's, and those that came with the inputs. Used by one run at a time.
final class RunTexts: @unchecked Sendable {
    private let planned: TextTable
    private(set) var table: TextTable

    init(_ planned: TextTable) {
        self.planned = planned
        table = planned
    }

    func number(_ text: String) -> Int64 { Int64(table.number(text)) }

    func text(_ number: Int64) -> String {
        number >= 0 && number < Int64(table.all.count) ? table.all[Int(number)] : ""
    }

    /// Forgets the texts of the run before.
    func reset() { if table.all.count > planned.all.count { table = planned } }
}

/// A step that may still change.
enum StepDraft {
    case ready(any Step)
    case dense(DenseDraft)
    case scaler(ScalerDraft)
    case removed

    var writes: [Int] {
        switch self {
        case .ready(let step): step.writes
        case .dense(let draft): [draft.target]
        case .scaler(let draft): [draft.target]
        case .removed: []
        }
    }

    func finished(_ planner: Planner) throws -> (any Step)? {
        switch self {
        case .ready(let step): step
        case .dense(let draft): try draft.finished(planner)
        case .scaler(let draft): draft.finished()
        case .removed: nil
        }
    }
}

/// Rows of a value `[N, ...]`, or of one whose first dimension is fixed.
struct RowCount: Sendable {
    let factor: Int
    let isBatched: Bool

    init(_ shape: Shape) {
        factor = shape.dims.first ?? 1
        isBatched = shape.isBatched
    }

    @inline(__always)
    func count(_ frame: Frame) -> Int { isBatched ? factor * frame.rows : factor }
}
