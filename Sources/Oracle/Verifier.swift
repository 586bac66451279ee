// Verifier: compares a snapshot of the pipeline with what it must hold. A pure function.

/// The independent check of "published = rows + dead letters + duplicates", record by record.
public struct Verifier: Sendable {
    /// Difference between the pipeline's score (Float32) and the oracle's (Float64) that is still equal.
    public static let scoreTolerance = 1e-4

    let facts: PipelineFacts
    let transform: TransformDocument
    let model: ScoreModel

    public init(facts: PipelineFacts, transform: TransformDocument, model: ScoreModel) throws {
        guard transform.contract == model.contract else {
            throw OracleError(
                "transform.json has contract \(transform.contract), the model \(model.contract): they do not fit")
        }
        guard transform.features.map(\.name) == model.features else {
            throw OracleError("transform.json and the model name different features")
        }
        self.facts = facts
        self.transform = transform
        self.model = model
    }

    public func verify(_ world: World) throws -> OracleReport {
        var expectations = try Expectations(
            inputs: world.inputs, facts: facts, clusterID: world.clusterID, transform: transform, model: model)
        expectations.allowEarlierDeadLetters(absorbed: world.absorbedStages)
        var run = VerifierRun(verifier: self, world: world, expectations: expectations)
        run.checkRows()
        run.checkDeadLetters()
        run.checkDuplicates()
        run.checkOutcomes()
        run.checkInternalTopics()
        run.checkPredictions()
        run.checkOffsets()
        return run.report
    }
}

/// The state of one verification; the checks stand in extensions.
struct VerifierRun {
    let verifier: Verifier
    let world: World
    let expectations: Expectations
    var report = OracleReport()
    /// Outcomes found, by input record.
    var found: [Origin: Set<Outcome>] = [:]
    /// Records of one topic whose dead letter was seen.
    var noted: Set<Origin> = []

    init(verifier: Verifier, world: World, expectations: Expectations) {
        self.verifier = verifier
        self.world = world
        self.expectations = expectations
        report.published = expectations.origins.count
    }

    var table: String { "table \(verifier.facts.sinkTable)" }

    func isBeforeLogStart(_ origin: Origin) -> Bool { origin.offset < world.inputs.starts[origin.partition] ?? 0 }

    // MARK: - Rows

    mutating func checkRows() {
        var byOrigin: [Origin: Int] = [:]
        var byEventID: [EventIdentifier: Origin] = [:]
        for row in world.rows {
            if isBeforeLogStart(row.origin) {
                report.beforeLogStart += 1
                continue
            }
            if let other = byEventID.updateValue(row.origin, forKey: row.eventID) {
                report.add(
                    Violation(
                        .repeatedRow, table, "a second row has this event id, from the input at \(other)",
                        eventID: row.eventID, origin: row.origin))
            }
            byOrigin[row.origin, default: 0] += 1
            if byOrigin[row.origin] == 2 {
                report.add(
                    Violation(
                        .repeatedRow, table, "the input record has a second row", eventID: row.eventID,
                        origin: row.origin))
            }
            guard let expectation = expectations.byOrigin[row.origin] else {
                report.add(
                    Violation(
                        .extraRow, table, "no input record stands where the row says", eventID: row.eventID,
                        origin: row.origin))
                continue
            }
            found[row.origin, default: []].insert(.row)
            if expectation.allowed.contains(.row) { compare(row, expectation, place: table) }
        }
        report.rows = byOrigin.keys.count { expectations.byOrigin[$0] != nil }
    }

    /// What a prediction says against what the oracle computed.
    mutating func compare(_ row: PredictionFacts, _ expectation: Expectation, place: String) {
        guard let event = expectation.event else { return }
        func wrong(_ kind: Violation.Kind, _ name: String, _ actual: String, _ expected: String) -> Violation {
            Violation(
                kind, place, "\(name) is \(actual), expected \(expected)", eventID: event.eventID, origin: row.origin)
        }
        func check<T: Equatable>(_ kind: Violation.Kind, _ name: String, _ actual: T, _ expected: T) {
            if actual != expected { report.add(wrong(kind, name, "\(actual)", "\(expected)")) }
        }
        func checkText(_ name: String, _ actual: String?, _ expected: String?) {
            // Byte by byte: Swift's own comparison takes canonically equivalent texts for equal.
            guard actual.map({ Array($0.utf8) }) != expected.map({ Array($0.utf8) }) else { return }
            report.add(wrong(.wrongContent, name, actual ?? "null", expected ?? "null"))
        }
        check(.wrongEventID, "event_id", row.eventID, event.eventID)
        if !(abs(row.score - expectation.score) <= Verifier.scoreTolerance) {
            report.add(wrong(.wrongScore, "score", "\(row.score)", "\(expectation.score)"))
        }
        // At the threshold itself either label is right.
        if abs(expectation.score - verifier.model.threshold) > Verifier.scoreTolerance {
            check(.wrongLabel, "label", row.label, expectation.label)
        }
        check(.wrongModel, "model", row.model, verifier.model.name)
        check(.wrongModel, "model_version", row.modelVersion, verifier.model.version)
        check(.wrongContract, "contract", row.contract, verifier.model.contract)
        checkText("source", row.source, event.identity?.source)
        checkText("id", row.id, event.identity?.id)
        checkText("entity", row.entity, event.entity)
        check(.wrongContent, "event_time", row.eventTime, event.eventTime)
        check(.wrongContent, "published_at", row.publishedAt, expectation.record.timestampMilliseconds * 1_000)
        check(.wrongContent, "imputed", row.imputed, expectation.imputed)
        check(.wrongContent, "outliers", row.outliers, expectation.outliers)
        check(.wrongContent, "payload", row.payload, event.payloadHash)
    }

    // MARK: - Outcomes

    /// Every input record has exactly one outcome, one that it may have.
    mutating func checkOutcomes() {
        for origin in expectations.origins {
            guard let expectation = expectations.byOrigin[origin] else { continue }
            let outcomes = found[origin] ?? []
            if let outcome = outcomes.first, outcomes.count == 1 {
                count(outcome)
                if !expectation.allowed.contains(outcome) { refuse(outcome, expectation) }
            } else if outcomes.isEmpty {
                miss(expectation)
            } else {
                let names = outcomes.map(Self.describe).sorted().joined(separator: " and ")
                report.add(
                    Violation(
                        .severalOutcomes, verifier.facts.inputs, "it became \(names)",
                        eventID: expectation.event?.eventID, origin: origin))
            }
        }
        for (eventID, members) in expectations.groups where members.count > 1 {
            let rows = members.filter { found[$0]?.contains(.row) == true }
            let mustHaveRow = members.contains { expectations.byOrigin[$0]?.allowed.contains(.row) == true }
            guard rows.isEmpty, mustHaveRow, members.allSatisfy({ found[$0] != nil }) else { continue }
            report.add(
                Violation(
                    .missingRow, table, "\(members.count) records have this event id and none became a row",
                    eventID: eventID, origin: members.first))
        }
        let sum = report.rows + report.deadLetters + report.duplicates
        guard sum != report.published else { return }
        report.add(
            Violation(
                .accounting, verifier.facts.inputs,
                "published \(report.published), but rows \(report.rows) + dead letters \(report.deadLetters) + duplicates "
                    + "\(report.duplicates) = \(sum)"))
    }

    private mutating func count(_ outcome: Outcome) {
        switch outcome {
        case .row: break
        case .duplicate: report.duplicates += 1
        case .deadLetter(_, let code):
            report.deadLetters += 1
            report.deadLettersByCode[code, default: 0] += 1
        }
    }

    private mutating func miss(_ expectation: Expectation) {
        let allowed = expectation.allowed
        let kind: Violation.Kind =
            allowed.contains(.row) ? .missingRow : allowed.contains(.duplicate) ? .missingDuplicate : .missingDeadLetter
        let expected = allowed.map(Self.describe).sorted().joined(separator: " or ")
        report.add(
            Violation(
                kind, kind == .missingRow ? table : verifier.facts.inputs, "it has no outcome, expected \(expected)",
                eventID: expectation.event?.eventID, origin: expectation.record.origin))
    }

    private mutating func refuse(_ outcome: Outcome, _ expectation: Expectation) {
        let expectsLetter = expectation.allowed.contains { if case .deadLetter = $0 { true } else { false } }
        let kind: Violation.Kind =
            switch outcome {
            case .row: expectation.allowed.contains(.duplicate) ? .repeatAccepted : .invalidEventAccepted
            case .duplicate: .eventTakenForRepeat
            case .deadLetter: expectsLetter ? .wrongCode : .validEventDeadLettered
            }
        let expected = expectation.allowed.map(Self.describe).sorted().joined(separator: " or ")
        report.add(
            Violation(
                kind, verifier.facts.inputs, "it became \(Self.describe(outcome)), expected \(expected)",
                eventID: expectation.event?.eventID, origin: expectation.record.origin))
    }

    static func describe(_ outcome: Outcome) -> String {
        switch outcome {
        case .row: "a row"
        case .duplicate: "a duplicate"
        case .deadLetter(let topic, let code): "a dead letter of \(topic.rawValue) (\(code))"
        }
    }
}
