// Matrix: a row-major Float32 matrix as a value.

/// A dense row-major matrix. Element (r, c) stands at `r * columns + c`; rows lie back to back without padding.
public struct Matrix: Sendable, Equatable {
    public let rows: Int
    public let columns: Int
    /// Row-major elements, `rows * columns` of them.
    public private(set) var elements: [Float]

    public init(rows: Int, columns: Int, repeating value: Float = 0) {
        precondition(rows >= 0 && columns >= 0, "a matrix has no negative side")
        self.rows = rows
        self.columns = columns
        elements = [Float](repeating: value, count: rows * columns)
    }

    /// - Parameter elements: row-major; exactly `rows * columns` of them.
    public init(rows: Int, columns: Int, elements: [Float]) {
        precondition(
            rows >= 0 && columns >= 0 && elements.count == rows * columns, "the elements do not fill the matrix")
        self.rows = rows
        self.columns = columns
        self.elements = elements
    }

    @inline(__always)
    public subscript(row: Int, column: Int) -> Float {
        get {
            precondition(row >= 0 && row < rows && column >= 0 && column < columns, "outside the matrix")
            return elements[row * columns + column]
        }
        set {
            precondition(row >= 0 && row < rows && column >= 0 && column < columns, "outside the matrix")
            elements[row * columns + column] = newValue
        }
    }

    /// The elements of one row.
    public func row(_ row: Int) -> ArraySlice<Float> {
        elements[row * columns..<(row + 1) * columns]
    }

    /// A new matrix of the named rows, in that order: a shuffled minibatch.
    public func selecting(rows indices: some Collection<Int>) -> Matrix {
        var selected: [Float] = []
        selected.reserveCapacity(indices.count * columns)
        for index in indices { selected.append(contentsOf: row(index)) }
        return Matrix(rows: indices.count, columns: columns, elements: selected)
    }

    public var transposed: Matrix {
        var result = Matrix(rows: columns, columns: rows)
        for r in 0..<rows {
            for c in 0..<columns { result.elements[c * rows + r] = elements[r * columns + c] }
        }
        return result
    }

    /// Borrows all elements.
    @inline(__always)
    public func withSpan<R, E: Error>(_ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
        try body(elements.span)
    }

    /// Borrows all elements to write.
    @inline(__always)
    public mutating func withMutableSpan<R, E: Error>(_ body: (inout MutableSpan<Float>) throws(E) -> R) throws(E) -> R
    {
        var span = elements.mutableSpan
        return try body(&span)
    }
}
