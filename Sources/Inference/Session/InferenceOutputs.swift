// InferenceOutputs: what a run on rows gives.

/// One column block per model output, row-major, reused from run to run.
public struct InferenceOutputs: Sendable {
    public struct Column: Sendable {
        public var name: String
        /// Elements per row; 0 for an output that is no list of rows.
        public var width: Int
        /// Probabilities and other numbers; empty for integer outputs.
        public internal(set) var floats: [Float] = []
        /// Labels; empty for float outputs. Texts by their number in `ModelDescription.classes`.
        public internal(set) var integers: [Int64] = []
    }

    public internal(set) var columns: [Column] = []
    public internal(set) var rowCount = 0
    /// The session that the columns were laid out for.
    var owner: ObjectIdentifier?

    public init() {}

    public func column(named name: String) -> Column? { columns.first { $0.name == name } }
}
