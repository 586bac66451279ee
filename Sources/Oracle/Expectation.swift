// Expectation: the outcome that each input record must have.

/// What can become of an input record.
enum Outcome: Hashable, Sendable {
    case row
    /// In the topic `duplicates` or the sink's table.
    case duplicate
    /// In the dead-letter topic of this topic, with this code.
    case deadLetter(SourceTopic, String)
}

/// What the oracle expects of one input record.
struct Expectation {
    var record: LogRecord
    /// Nil for a record that is no valid event.
    var event: AcceptedEvent?
    /// Exactly one of these must be found. Several stand here where the promise leaves it open: a record with several
    /// faults may be refused for any, and of two records with one event id in two partitions either may be first.
    var allowed: Set<Outcome>
    var score: Double = 0
    var label = 0
    var imputed = 0
    var outliers = 0
}

/// Expected outcomes of a whole input topic.
struct Expectations {
    private(set) var byOrigin: [Origin: Expectation] = [:]
    /// Input records, ascending by partition and offset.
    let origins: [Origin]
    /// Valid events with one event id of which exactly one must be the row.
    private(set) var groups: [EventIdentifier: [Origin]] = [:]

    init(
        inputs: TopicLog, facts: PipelineFacts, clusterID: String, transform: TransformDocument, model: ScoreModel
    ) throws {
        origins = inputs.records.map(\.origin)
        let acceptance = Acceptance(facts: facts, clusterID: clusterID)
        var window = DuplicateWindow(facts: facts, starts: inputs.starts)
        for record in inputs.records {
            let verdict = acceptance.judge(record)
            guard let event = verdict.event else {
                let letters = verdict.faults.map { Outcome.deadLetter(.inputs, $0) }
                byOrigin[record.origin] = Expectation(record: record, event: nil, allowed: Set(letters))
                continue
            }
            let ingest = window.outcomes(of: record, event)
            byOrigin[record.origin] = try Self.expectation(
                record, event, ingest: ingest, transform: transform, model: model)
            if ingest.contains(.row) { groups[event.eventID, default: []].append(record.origin) }
        }
        for members in groups.values where members.count > 1 { loosen(members) }
    }

    /// The outcome of a valid event after `ingest-consumer`.
    private static func expectation(
        _ record: LogRecord, _ event: AcceptedEvent, ingest: Set<Outcome>, transform: TransformDocument,
        model: ScoreModel
    ) throws -> Expectation {
        var expectation = Expectation(record: record, event: event, allowed: ingest)
        guard ingest.contains(.row) else { return expectation }
        let features = transform.apply(to: event.numbers)
        expectation.imputed = features.imputed
        expectation.outliers = features.outliers
        if !features.faults.isEmpty {
            expectation.allowed.remove(.row)
            expectation.allowed.formUnion(features.faults.map { .deadLetter(.events, $0) })
            return expectation
        }
        (expectation.score, expectation.label) = try model.predict(features.values)
        if !expectation.score.isFinite {
            expectation.allowed.remove(.row)
            expectation.allowed.insert(.deadLetter(.features, "non_finite_prediction"))
        }
        return expectation
    }

    /// A process with several stages dead-letters the record of the topic that it reads.
    mutating func allowEarlierDeadLetters(absorbed: Set<String>) {
        guard !absorbed.isEmpty else { return }
        let first: SourceTopic = absorbed.contains("ingest") ? .inputs : .events
        for origin in origins {
            for case .deadLetter(let topic, let code) in byOrigin[origin]?.allowed ?? [] {
                let isAbsorbed = topic == .features || (topic == .events && first == .inputs)
                if isAbsorbed { byOrigin[origin]?.allowed.insert(.deadLetter(first, code)) }
            }
        }
    }

    /// Several records of one event id that `ingest-consumer` cannot tell apart: which one becomes the row is open.
    private mutating func loosen(_ members: [Origin]) {
        let hashes = Set(members.compactMap { byOrigin[$0]?.event?.payloadHash })
        for member in members where byOrigin[member]?.allowed.contains(.row) == true {
            byOrigin[member]?.allowed.insert(.duplicate)
            if hashes.count > 1 {
                byOrigin[member]?.allowed.insert(.deadLetter(.predictions, "conflicting_duplicate"))
            }
        }
    }
}

/// Which records of one partition repeat an earlier one.
///
/// A record is compared with the earliest valid record of its source and id in its window: at most so many offsets
/// before it, and published at most so long before it. Whatever became of that earlier record, equal payloads make a
/// duplicate and different ones a conflict.
struct DuplicateWindow {
    private struct Key: Hashable {
        var partition: Int32
        var identity: PublisherIdentity
    }

    private struct Earlier {
        var offset: Int64
        var timestamp: Int64
        var payload: String
    }

    private let facts: PipelineFacts
    private let starts: [Int32: Int64]
    private var earlier: [Key: [Earlier]] = [:]
    private var newestTimestamp: [Int32: Int64] = [:]

    init(facts: PipelineFacts, starts: [Int32: Int64]) {
        self.facts = facts
        self.starts = starts
    }

    /// What `ingest-consumer` may make of a valid event; `.row` stands for passing it on.
    mutating func outcomes(of record: LogRecord, _ event: AcceptedEvent) -> Set<Outcome> {
        guard let identity = event.identity else { return [.row] }
        let (partition, offset) = (record.origin.partition, record.origin.offset)
        let key = Key(partition: partition, identity: identity)
        let timestamp = record.timestampMilliseconds
        let newest = max(newestTimestamp[partition] ?? timestamp, timestamp)
        newestTimestamp[partition] = newest
        let known = earlier[key] ?? []
        earlier[key] = known + [Earlier(offset: offset, timestamp: timestamp, payload: event.payloadHash)]

        let first = known.first {
            offset - $0.offset <= facts.windowRecords && timestamp - $0.timestamp <= facts.windowMilliseconds
        }
        func outcome(_ first: Earlier) -> Outcome {
            first.payload == event.payloadHash ? .duplicate : .deadLetter(.inputs, "conflicting_duplicate")
        }
        // Where the log's start was cut off, or a record comes later than the window is long, what stood before it may
        // or may not have been known.
        let start = starts[partition] ?? 0
        let isCut = start > 0 && offset - start < facts.windowRecords
        guard isCut || newest - timestamp > facts.windowMilliseconds else { return [first.map(outcome) ?? .row] }
        let possible = Set(known.map(outcome)).union([.row])
        return isCut ? possible.union([.duplicate, .deadLetter(.inputs, "conflicting_duplicate")]) : possible
    }
}
