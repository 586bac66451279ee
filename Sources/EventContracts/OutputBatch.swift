// OutputBatch: what a stage made of a micro-batch, one outcome per input record.

/// The outcome of a micro-batch. Every input record must get exactly one of: an emitted record, a dead letter, a
/// duplicate notice; the runtime checks it before anything is produced.
public struct OutputBatch: Sendable {
    /// One record to produce.
    public struct Emission: Sendable {
        /// Index of the input record it stems from.
        public var source: Int
        /// Index into the stage's list of output topics.
        public var topicIndex: Int
        /// Arena range of the value in `arena`.
        public var value: RecordBatch.Slice
    }

    public struct DeadLetter: Sendable {
        public var source: Int
        public var code: ErrorCode
        /// One sentence for a person: the place and the way to mend it. Never contains a secret.
        public var message: String

        public init(source: Int, code: ErrorCode, message: String) {
            self.source = source
            self.code = code
            self.message = message
        }
    }

    public private(set) var arena: [UInt8] = []
    public private(set) var emissions: [Emission] = []
    /// Duplicate notices are records too, for the stage's duplicates topic.
    public private(set) var duplicates: [Emission] = []
    public private(set) var deadLetters: [DeadLetter] = []

    public init() {}

    public mutating func removeAll() {
        arena.removeAll(keepingCapacity: true)
        emissions.removeAll(keepingCapacity: true)
        duplicates.removeAll(keepingCapacity: true)
        deadLetters.removeAll(keepingCapacity: true)
    }

    /// Emits a record under the input record's key. `write` appends the value to the arena.
    @inline(__always)
    public mutating func emit(source: Int, topicIndex: Int = 0, _ write: (inout [UInt8]) -> Void) {
        emissions.append(Emission(source: source, topicIndex: topicIndex, value: record(write)))
    }

    /// Recognises the input record as a repeat of an earlier one; the notice goes to output topic `topicIndex`.
    public mutating func duplicate(source: Int, topicIndex: Int, _ write: (inout [UInt8]) -> Void) {
        duplicates.append(Emission(source: source, topicIndex: topicIndex, value: record(write)))
    }

    public mutating func deadLetter(source: Int, _ code: ErrorCode, _ message: String) {
        deadLetters.append(DeadLetter(source: source, code: code, message: message))
    }

    private mutating func record(_ write: (inout [UInt8]) -> Void) -> RecordBatch.Slice {
        let start = arena.count
        write(&arena)
        return RecordBatch.Slice(start: start, length: arena.count - start)
    }

    /// The first input record that has not exactly one outcome, or nil when all have.
    public func firstWithoutSingleOutcome(count: Int) -> Int? {
        var outcomes = [UInt8](repeating: 0, count: count)
        func add(_ source: Int) { outcomes[source] = outcomes[source] &+ 1 }
        for emission in emissions { add(emission.source) }
        for duplicate in duplicates { add(duplicate.source) }
        for letter in deadLetters { add(letter.source) }
        return outcomes.firstIndex { $0 != 1 }
    }
}
