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

/// Which records of one partition repeat an earlier one: same source and id, within the window.
struct DuplicateWindow {
    private struct Key: Hashable {
        var partition: Int32
        var identity: PublisherIdentity
    }

    private struct Earlier {
        var offset: Int64
        var timestamp: Int64
        var payloads: Set<String>
        /// Nothing of it was left open.
        var isCertain: Bool
    }

    private let facts: PipelineFacts
    private let starts: [Int32: Int64]
    private var earlier: [Key: Earlier] = [:]

    init(facts: PipelineFacts, starts: [Int32: Int64]) {
        self.facts = facts
        self.starts = starts
    }

    /// What `ingest-consumer` may make of a valid event; `.row` stands for passing it on.
    mutating func outcomes(of record: LogRecord, _ event: AcceptedEvent) -> Set<Outcome> {
        guard let identity = event.identity else { return [.row] }
        let key = Key(partition: record.origin.partition, identity: identity)
        let conflict = Outcome.deadLetter(.inputs, "conflicting_duplicate")
        guard let first = earlier[key] else {
            earlier[key] = Earlier(
                offset: record.origin.offset, timestamp: record.timestampMilliseconds, payloads: [event.payloadHash],
                isCertain: true)
            // Behind a truncated start of the log, the first record of this identity may be gone.
            let start = starts[record.origin.partition] ?? 0
            guard start > 0, record.origin.offset - start < facts.windowRecords else { return [.row] }
            earlier[key]?.isCertain = false
            return [.row, .duplicate, conflict]
        }
        let isInside =
            record.origin.offset - first.offset < facts.windowRecords
            && abs(record.timestampMilliseconds - first.timestamp) < facts.windowMilliseconds
        if isInside, first.isCertain { return first.payloads.contains(event.payloadHash) ? [.duplicate] : [conflict] }
        // Outside the window the repeat passes, or not, depending on when the window was rebuilt; the sink sees to it
        // that an event id has one row.
        var outcomes: Set<Outcome> = [.row]
        if first.payloads.contains(event.payloadHash) { outcomes.insert(.duplicate) }
        if first.payloads != [event.payloadHash] { outcomes.insert(conflict) }
        earlier[key]?.payloads.insert(event.payloadHash)
        earlier[key]?.isCertain = false
        return outcomes
    }
}
