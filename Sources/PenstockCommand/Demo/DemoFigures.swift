// DemoFigures: what the demo reads back, and the checks on it. Pure: all input is passed in.

import EventContracts
import Training

/// Where every published record ended up, by its position in the input topic.
struct DemoOutcome: Sendable {
    typealias Origin = Publisher.Position

    struct Row: Sendable {
        var origin: Origin
        /// The publisher's id.
        var id: String
        var month: String
        var score: Double
    }

    struct DeadLetter: Sendable {
        var origin: Origin
        var code: String
        var key: [UInt8]?
        var value: [UInt8]?
        /// Those of the original record.
        var headers: [OutgoingEvent.Header]
    }

    var rows: [Row] = []
    var deadLetters: [DeadLetter] = []
    var duplicates: [Origin] = []
}

/// One statement that the demo has checked.
struct DemoCheck: Encodable, Sendable {
    var name: String
    var isMet: Bool
    var detail: String
}

struct DemoVerifier {
    let plan: DemoPlan
    /// By the order of the plan.
    let positions: [Publisher.Position]
    let outcome: DemoOutcome

    /// Records shown by name when something is wrong.
    static let examplesMax = 3

    func checks() -> [DemoCheck] {
        [balance(), oneOutcomeEach(), rowsAsExpected(), codesAsExpected(), bytesAsSent()]
    }

    private func balance() -> DemoCheck {
        let rows = Set(outcome.rows.map(\.origin)).count
        let letters = Set(outcome.deadLetters.map(\.origin)).count
        let duplicates = Set(outcome.duplicates).count
        return DemoCheck(
            name: "published = rows + dead letters + duplicates",
            isMet: plan.items.count == rows + letters + duplicates,
            detail: "\(Numbers.grouped(plan.items.count)) = \(Numbers.grouped(rows)) + \(letters) + \(duplicates)")
    }

    private func oneOutcomeEach() -> DemoCheck {
        var outcomes: [DemoOutcome.Origin: Int] = [:]
        for origin in outcome.rows.map(\.origin) { outcomes[origin, default: 0] += 1 }
        for origin in Set(outcome.deadLetters.map(\.origin)) { outcomes[origin, default: 0] += 1 }
        for origin in Set(outcome.duplicates) { outcomes[origin, default: 0] += 1 }
        let wrong = positions.indices.filter { outcomes[positions[$0]] != 1 }
        let strangers = Set(outcomes.keys).subtracting(positions).count
        return DemoCheck(
            name: "every record has exactly one outcome", isMet: wrong.isEmpty && strangers == 0,
            detail: wrong.isEmpty && strangers == 0
                ? "\(Numbers.grouped(positions.count)) origins, each once"
                : "\(wrong.count) without exactly one\(examples(wrong)), \(strangers) that were not published")
    }

    private func rowsAsExpected() -> DemoCheck {
        let found = Dictionary(outcome.rows.map { ($0.origin, $0.id) }, uniquingKeysWith: { first, _ in first })
        let wrong = positions.indices.filter { index in
            guard case .row(let id) = plan.items[index].expectation else { return found[positions[index]] != nil }
            return found[positions[index]] != id
        }
        return DemoCheck(
            name: "rows are the valid events, and no others", isMet: wrong.isEmpty,
            detail: wrong.isEmpty
                ? "\(Numbers.grouped(plan.rowCount)) ids compared" : "\(wrong.count) differ\(examples(wrong))")
    }

    private func codesAsExpected() -> DemoCheck {
        let found = Dictionary(
            outcome.deadLetters.map { ($0.origin, $0.code) }, uniquingKeysWith: { first, _ in first })
        let wrong = positions.indices.filter { index in
            guard case .deadLetter(let kind) = plan.items[index].expectation else {
                return found[positions[index]] != nil
            }
            return found[positions[index]] != kind.code.rawValue
        }
        return DemoCheck(
            name: "each damaged record has its error code", isMet: wrong.isEmpty,
            detail: wrong.isEmpty
                ? "\(plan.deadLetterCount) records of \(DamageKind.allCases.count) kinds"
                : "\(wrong.count) differ\(examples(wrong))")
    }

    private func bytesAsSent() -> DemoCheck {
        let letters = Dictionary(outcome.deadLetters.map { ($0.origin, $0) }, uniquingKeysWith: { first, _ in first })
        let wrong = positions.indices.filter { index in
            guard case .deadLetter = plan.items[index].expectation, let letter = letters[positions[index]] else {
                return false
            }
            let event = plan.items[index].event
            return letter.key != event.key || letter.value != event.value || letter.headers != event.headers
        }
        return DemoCheck(
            name: "dead letters are what was sent, byte for byte", isMet: wrong.isEmpty,
            detail: wrong.isEmpty
                ? "key, value and headers of \(letters.count)" : "\(wrong.count) differ\(examples(wrong))")
    }

    /// Names of records for a message.
    private func examples(_ indices: [Int]) -> String {
        guard !indices.isEmpty else { return "" }
        let found = Dictionary(
            outcome.deadLetters.map { ($0.origin, $0.code) }, uniquingKeysWith: { first, _ in first })
        let names = indices.prefix(Self.examplesMax).map { index in
            let place = "\(positions[index].partition)/\(positions[index].offset)"
            let code = found[positions[index]].map { " became \($0)" } ?? ""
            return switch plan.items[index].expectation {
            case .row(let id): "event \(id) at \(place)\(code)"
            case .deadLetter(let kind): "'\(kind.rawValue)' at \(place)\(code.isEmpty ? " has no dead letter" : code)"
            case .duplicate(let original): "repeat of record \(original) at \(place)\(code)"
            }
        }
        return " (\(names.joined(separator: "; "))\(indices.count > Self.examplesMax ? "; …" : ""))"
    }

    /// Codes expected and found, ordered by code.
    func codes() -> [(code: String, expected: Int, found: Int)] {
        var found: [String: Int] = [:]
        for letter in Dictionary(outcome.deadLetters.map { ($0.origin, $0) }, uniquingKeysWith: { first, _ in first })
            .values
        {
            found[letter.code, default: 0] += 1
        }
        let expected = Dictionary(uniqueKeysWithValues: plan.expectedCodes.map { ($0.key.rawValue, $0.value) })
        return Set(found.keys).union(expected.keys).sorted().map { ($0, expected[$0] ?? 0, found[$0] ?? 0) }
    }
}

/// Quality by month, against labels that came later.
struct MonthlyQuality: Encodable, Sendable {
    var month: String
    var rows: Int
    var positives: Int
    var auc: Double?
    var accuracy: Double

    static func compute(
        _ rows: [DemoOutcome.Row], labels: [String: UInt8], threshold: Double
    ) -> (months: [MonthlyQuality], unlabelled: Int) {
        var groups: [String: (scores: [Double], labels: [UInt8])] = [:]
        var unlabelled = 0
        for row in rows {
            guard let label = labels[row.id] else {
                unlabelled += 1
                continue
            }
            groups[row.month, default: ([], [])].scores.append(row.score)
            groups[row.month, default: ([], [])].labels.append(label)
        }
        let months = groups.sorted { $0.key < $1.key }.map { month, group in
            let metrics = ModelMetrics(scores: group.scores, labels: group.labels, threshold: threshold)
            return MonthlyQuality(
                month: month, rows: metrics.rows, positives: metrics.positives, auc: metrics.rocAUC,
                accuracy: metrics.accuracy)
        }
        return (months, unlabelled)
    }
}

/// Latency of one hop, seconds.
struct HopLatency: Encodable, Sendable {
    var hop: String
    var p50: Double
    var p90: Double
    var p99: Double
    var max: Double
}
