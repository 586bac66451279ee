// Shape: dimensions of a value, one of which may grow with the batch.

/// A shape in which at most one dimension is a multiple of the batch size N: dimension `batchAxis` has
/// `dims[batchAxis] * N` elements.
struct Shape: Sendable, Equatable {
    var dims: [Int]
    var batchAxis: Int?

    init(_ dims: [Int], batchAxis: Int? = nil) {
        self.dims = dims
        self.batchAxis = batchAxis
    }

    var rank: Int { dims.count }
    var isBatched: Bool { batchAxis != nil }
    /// Elements, or elements per row of the batch.
    var unit: Int { dims.reduce(1, *) }
    /// Elements before the batch dimension; 1 when a row's elements lie together.
    var outer: Int { batchAxis.map { dims[..<$0].reduce(1, *) } ?? 1 }
    /// A row's elements lie together, rows one after another.
    var isRowMajor: Bool { isBatched && outer == 1 }

    func count(_ rows: Int) -> Int { isBatched ? unit * rows : unit }

    func size(_ axis: Int, _ rows: Int) -> Int { axis == batchAxis ? dims[axis] * rows : dims[axis] }

    func isBatch(_ axis: Int) -> Bool { axis == batchAxis }

    /// `[N, 30]`, `[2N, 3]`
    var text: String {
        let parts = dims.indices.map { axis -> String in
            guard axis == batchAxis else { return "\(dims[axis])" }
            return dims[axis] == 1 ? "N" : "\(dims[axis])N"
        }
        return "[\(parts.joined(separator: ", "))]"
    }

    /// The common shape by NumPy's rules (https://numpy.org/doc/stable/user/basics.broadcasting.html), or nil when the
    /// shapes do not fit for every size of the batch.
    static func broadcast(_ left: Shape, _ right: Shape) -> Shape? {
        let rank = max(left.rank, right.rank)
        var result = Shape([])
        for axis in 0..<rank {
            let l = axis - (rank - left.rank)
            let r = axis - (rank - right.rank)
            let a = l >= 0 ? left.dims[l] : 1
            let b = r >= 0 ? right.dims[r] : 1
            let isLeftBatch = l >= 0 && left.isBatch(l)
            let isRightBatch = r >= 0 && right.isBatch(r)
            if isLeftBatch || isRightBatch {
                guard result.batchAxis == nil else { return nil }
                guard isLeftBatch && isRightBatch ? a == b : (isLeftBatch ? b : a) == 1 else { return nil }
                result.batchAxis = axis
                result.dims.append(isLeftBatch ? a : b)
            } else {
                guard a == b || a == 1 || b == 1 else { return nil }
                result.dims.append(a == 1 ? b : a)
            }
        }
        return result
    }
}

/// Sizes and strides resolved for one number of rows: at most eight dimensions, on the stack.
struct Extents {
    static let rankMax = 8
    private(set) var rank = 0
    var sizes = InlineArray<8, Int>(repeating: 1)
    var strides = InlineArray<8, Int>(repeating: 0)

    /// Dense row-major strides of `shape`.
    init(_ shape: Shape, rows: Int) {
        rank = shape.rank
        var stride = 1
        for axis in (0..<rank).reversed() {
            sizes[axis] = shape.size(axis, rows)
            strides[axis] = stride
            stride *= sizes[axis]
        }
    }

    /// Sizes of `target`, with the strides with which `source` is read there: 0 where it is repeated.
    init(broadcasting source: Shape, to target: Shape, rows: Int) {
        self.init(target, rows: rows)
        let own = Extents(source, rows: rows)
        let shift = rank - own.rank
        for axis in 0..<rank {
            let from = axis - shift
            strides[axis] = from < 0 || own.sizes[from] == 1 ? 0 : own.strides[from]
        }
    }

    var count: Int {
        var product = 1
        for axis in 0..<rank { product *= sizes[axis] }
        return product
    }

    /// Calls `body` with the position in row-major order and the offset that the strides give.
    @inline(__always)
    func forEach(_ body: (Int, Int) -> Void) {
        let total = count
        guard total > 0 else { return }
        var index = InlineArray<8, Int>(repeating: 0)
        var offset = 0
        for position in 0..<total {
            body(position, offset)
            var axis = rank - 1
            while axis >= 0 {
                index[axis] += 1
                offset += strides[axis]
                if index[axis] < sizes[axis] { break }
                offset -= strides[axis] * sizes[axis]
                index[axis] = 0
                axis -= 1
            }
        }
    }
}
