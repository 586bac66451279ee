// OracleReport: what the oracle found, as text and JSON.

import Foundation

/// One broken promise.
public struct Violation: Sendable, Codable, Equatable {
    /// Raw values are part of the JSON report: never rename one.
    public enum Kind: String, Sendable, Codable, CaseIterable {
        case missingRow = "missing-row"
        case missingDeadLetter = "missing-dead-letter"
        case missingDuplicate = "missing-duplicate"
        case missingPrediction = "missing-prediction"
        case severalOutcomes = "several-outcomes"
        case extraRow = "extra-row"
        case repeatedRow = "repeated-row"
        case extraPrediction = "extra-prediction"
        case extraDeadLetter = "extra-dead-letter"
        case extraDuplicate = "extra-duplicate"
        case validEventDeadLettered = "valid-event-dead-lettered"
        case invalidEventAccepted = "invalid-event-accepted"
        case repeatAccepted = "repeat-accepted"
        case eventTakenForRepeat = "event-taken-for-repeat"
        case wrongCode = "wrong-code"
        case wrongEventID = "wrong-event-id"
        case wrongScore = "wrong-score"
        case wrongLabel = "wrong-label"
        case wrongModel = "wrong-model"
        case wrongContract = "wrong-contract"
        case wrongContent = "wrong-content"
        case alteredDeadLetter = "altered-dead-letter"
        case wrongDuplicateNotice = "wrong-duplicate-notice"
        case malformedRecord = "malformed-record"
        /// A record of `events` or `features` of no input record that may come so far.
        case extraRecord = "extra-record"
        case missingRecord = "missing-record"
        /// In `exact`: one input record twice in one topic.
        case repeatedRecord = "repeated-record"
        case swappedOrder = "swapped-order"
        case wrongOffset = "wrong-offset"
        case accounting = "accounting"
    }

    public var kind: Kind
    /// Topic or table, with the place.
    public var place: String
    public var message: String
    public var eventID: String?
    /// Of the input record.
    public var partition: Int32?
    public var offset: Int64?

    enum CodingKeys: String, CodingKey {
        case kind, place, message, partition, offset
        case eventID = "event_id"
    }

    init(_ kind: Kind, _ place: String, _ message: String, eventID: EventIdentifier? = nil, origin: Origin? = nil) {
        self.kind = kind
        self.place = place
        self.message = message
        self.eventID = eventID?.description
        partition = origin?.partition
        offset = origin?.offset
    }

    var text: String {
        let event = eventID.map { ", event \($0)" } ?? ""
        let origin =
            partition.flatMap { partition in offset.map { ", input partition \(partition) offset \($0)" } } ?? ""
        return "\(kind.rawValue): \(place)\(origin)\(event): \(message)"
    }
}

/// The oracle's judgement of one snapshot.
public struct OracleReport: Sendable, Codable {
    /// Violations that are named; all are counted.
    public static let violationsShownMax = 20

    /// Input records judged.
    public var published = 0
    public var rows = 0
    public var deadLetters = 0
    public var duplicates = 0
    /// Dead letters by error code.
    public var deadLettersByCode: [String: Int] = [:]
    /// Rows whose input record is no longer in the log, and so cannot be judged.
    public var beforeLogStart = 0
    public var violationCount = 0
    public var violationsByKind: [String: Int] = [:]
    /// The first ones, in the order of the checks.
    public var violations: [Violation] = []

    enum CodingKeys: String, CodingKey {
        case published, rows, duplicates, violations
        case deadLetters = "dead_letters"
        case deadLettersByCode = "dead_letters_by_code"
        case beforeLogStart = "before_log_start"
        case violationCount = "violation_count"
        case violationsByKind = "violations_by_kind"
    }

    public var isContent: Bool { violationCount == 0 }
    public var exitStatus: Int32 { isContent ? 0 : 1 }

    mutating func add(_ violation: Violation) {
        violationCount += 1
        violationsByKind[violation.kind.rawValue, default: 0] += 1
        if violations.count < Self.violationsShownMax { violations.append(violation) }
    }

    public var text: String {
        var lines = [
            "published \(published) = rows \(rows) + dead letters \(deadLetters) + duplicates \(duplicates)"
        ]
        for (code, count) in deadLettersByCode.sorted(by: { $0.key < $1.key }) { lines.append("  \(code): \(count)") }
        if beforeLogStart > 0 {
            lines.append("\(beforeLogStart) rows are older than the input log and were not judged")
        }
        if isContent {
            lines.append("The oracle is content: every event has exactly the outcome it must have.")
        } else {
            lines += violations.map { "violation: \($0.text)" }
            let rest = violationCount - violations.count
            if rest > 0 { lines.append("and \(rest) more") }
            let kinds = violationsByKind.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
            lines.append("The oracle found \(violationCount) violations: \(kinds.joined(separator: ", "))")
        }
        return lines.joined(separator: "\n")
    }

    /// One object, keys sorted.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
}
