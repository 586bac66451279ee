// DeadLetter: the record that goes to `<topic>.dlq`: the input byte for byte, plus headers that say what went wrong.

public import EventContracts

/// Where in the pipeline a record failed: the value of `__connect.errors.stage`.
public enum DeadLetterStage: String, Sendable {
    case valueConverter = "VALUE_CONVERTER"
    case transformation = "TRANSFORMATION"
    case taskPut = "TASK_PUT"
}

/// Who writes dead letters: the constant part of their headers.
public struct DeadLetterWriter: Sendable {
    public var group: String
    public var instance: String
    /// The Penstock module that refuses records, for example `IngestStage`.
    public var module: String
    public var stage: DeadLetterStage

    public init(group: String, instance: String, module: String, stage: DeadLetterStage) {
        self.group = group
        self.instance = instance
        self.module = module
        self.stage = stage
    }

    /// The dead letter of record `letter.source` of `batch`. Header names that the record already has are kept as they
    /// came and not written a second time.
    public func record(
        _ letter: OutputBatch.DeadLetter, of batch: RecordBatch, inputTopics: [String], nowMicroseconds: Int64
    ) -> DeadLetterRecord {
        let origin = batch.origins[letter.source]
        let topic = inputTopics[origin.topicIndex]
        var headers: [DeadLetterRecord.Header] = []
        headers.reserveCapacity(batch.headerCount(of: letter.source) + 12)
        for position in 0..<batch.headerCount(of: letter.source) {
            let (name, value) = batch.header(position, of: letter.source)
            headers.append(DeadLetterRecord.Header(name: batch.bytes(name) ?? [], value: batch.bytes(value)))
        }
        let taken = Set(headers.map(\.name))
        func add(_ name: String, _ value: String) {
            let bytes = Array(name.utf8)
            guard !taken.contains(bytes) else { return }
            headers.append(DeadLetterRecord.Header(name: bytes, value: Array(value.utf8)))
        }
        add("__connect.errors.topic", topic)
        add("__connect.errors.partition", "\(origin.partition)")
        add("__connect.errors.offset", "\(origin.offset)")
        add("__connect.errors.connector.name", group)
        add("__connect.errors.task.id", instance)
        add("__connect.errors.stage", stage.rawValue)
        add("__connect.errors.class.name", module)
        add("__connect.errors.exception.class.name", "penstock.\(letter.code.rawValue)")
        add("__connect.errors.exception.message", letter.message)
        add("x-error-code", letter.code.rawValue)
        add("x-error-time", TimeText.rfc3339(microseconds: nowMicroseconds))
        add("x-original-timestamp", "\(batch.timestampsMilliseconds[letter.source])")
        return DeadLetterRecord(
            topic: PipelineTopics.deadLetters(of: topic), key: batch.bytes(batch.keys[letter.source]),
            value: batch.bytes(batch.values[letter.source]), headers: headers)
    }
}

/// A record ready to be produced; null stays nil.
public struct DeadLetterRecord: Sendable, Equatable {
    public struct Header: Sendable, Equatable {
        public var name: [UInt8]
        public var value: [UInt8]?

        public init(name: [UInt8], value: [UInt8]?) {
            self.name = name
            self.value = value
        }
    }

    public var topic: String
    public var key: [UInt8]?
    public var value: [UInt8]?
    public var headers: [Header]

    public init(topic: String, key: [UInt8]?, value: [UInt8]?, headers: [Header]) {
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
    }
}
