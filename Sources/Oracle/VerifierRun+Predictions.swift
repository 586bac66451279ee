// VerifierRun+Predictions: the predictions topic, its order, and the duplicates.

extension VerifierRun {
    // MARK: - Predictions

    mutating func checkPredictions() {
        var seen: Set<Origin> = []
        // Newest input offset seen, per partition of predictions, key and input partition.
        var newest: [OrderKey: Int64] = [:]
        for record in world.predictions.records {
            let place = "\(verifier.facts.root).predictions, \(record.origin)"
            guard let value = record.value, let json = try? StrictJSON.parse(value),
                let prediction = PredictionFacts(json: json)
            else {
                report.add(
                    Violation(.malformedRecord, place, "the record is no prediction as docs/formats.md describes it"))
                continue
            }
            if isBeforeLogStart(prediction.origin) { continue }
            guard let expectation = expectations.byOrigin[prediction.origin] else {
                report.add(
                    Violation(
                        .extraPrediction, place, "no input record stands where the prediction says",
                        eventID: prediction.eventID, origin: prediction.origin))
                continue
            }
            // A repeat after a restart is expected in the profile `latency`; only first occurrences have an order.
            guard seen.insert(prediction.origin).inserted else {
                noteRepeat(true, place, prediction.origin)
                continue
            }
            guard let event = expectation.event, Self.mayHavePrediction(expectation) else {
                report.add(
                    Violation(
                        .extraPrediction, place, "the input record must not become a prediction",
                        eventID: prediction.eventID, origin: prediction.origin))
                continue
            }
            compare(prediction, expectation, place: place)
            if record.key != expectation.record.key {
                report.add(
                    Violation(
                        .wrongContent, place, "its key is not the input record's", eventID: event.eventID,
                        origin: prediction.origin))
            }
            checkOrder(record, prediction.origin, event.eventID, place, &newest)
        }
        checkMissingPredictions(seen)
    }

    /// A row, or what the sink made of a prediction.
    private static func mayHavePrediction(_ expectation: Expectation) -> Bool {
        expectation.allowed.contains { outcome in
            switch outcome {
            case .row, .deadLetter(.predictions, _): true
            default: false
            }
        }
    }

    private mutating func checkMissingPredictions(_ seen: Set<Origin>) {
        // What retention removed cannot be found any more.
        guard world.predictions.starts.values.allSatisfy({ $0 == 0 }) else { return }
        for origin in expectations.origins where found[origin] == [.row] && !seen.contains(origin) {
            guard let expectation = expectations.byOrigin[origin], expectation.allowed.contains(.row) else { continue }
            report.add(
                Violation(
                    .missingPrediction, "\(verifier.facts.root).predictions",
                    "the row's prediction is not in the topic",
                    eventID: expectation.event?.eventID, origin: origin))
        }
    }

    // MARK: - Duplicates

    mutating func checkDuplicates() {
        var noticed: Set<Origin> = []
        for record in world.duplicates.records {
            let place = "\(verifier.facts.root).duplicates, \(record.origin)"
            guard let value = record.value, let json = try? StrictJSON.parse(value), let origin = Self.origin(in: json),
                let eventID = json["event_id"]?.text.flatMap({ EventIdentifier($0) }),
                let first = json["first_offset"]?.integer
            else {
                report.add(
                    Violation(
                        .malformedRecord, place, "the record is no duplicate notice as docs/formats.md describes it"))
                continue
            }
            if isBeforeLogStart(origin) { continue }
            noteRepeat(!noticed.insert(origin).inserted, place, origin)
            let firstOrigin = Origin(partition: origin.partition, offset: first)
            add(eventID, origin, place: place)
            guard let event = expectations.byOrigin[origin]?.event, !isBeforeLogStart(firstOrigin) else { continue }
            let firstEvent = expectations.byOrigin[firstOrigin]?.event
            if first >= origin.offset || firstEvent?.identity != event.identity || event.identity == nil {
                report.add(
                    Violation(
                        .wrongDuplicateNotice, place,
                        "the record at offset \(first) is not the first of its source and id",
                        eventID: eventID, origin: origin))
            }
        }
        for duplicate in world.tableDuplicates where !isBeforeLogStart(duplicate.origin) {
            add(duplicate.eventID, duplicate.origin, place: "table of duplicates")
        }
    }

    private mutating func add(_ eventID: EventIdentifier, _ origin: Origin, place: String) {
        guard let expectation = expectations.byOrigin[origin] else {
            report.add(
                Violation(
                    .extraDuplicate, place, "no input record stands where the duplicate says", eventID: eventID,
                    origin: origin))
            return
        }
        found[origin, default: []].insert(.duplicate)
        if let event = expectation.event, event.eventID != eventID {
            report.add(
                Violation(
                    .wrongEventID, place, "event_id is \(eventID), expected \(event.eventID)", eventID: event.eventID,
                    origin: origin))
        }
    }
}

extension PredictionFacts {
    /// Reads the JSON of `predictions`; nil when a key is missing or of the wrong type.
    init?(json: JSONValue) {
        func optionalText(_ key: String) -> String?? {
            switch json[key] {
            case .null: .some(nil)
            case .string(let text): .some(text)
            default: nil
            }
        }
        guard json["v"]?.integer == 1, let eventID = json["event_id"]?.text.flatMap({ EventIdentifier($0) }),
            let source = optionalText("source"), let id = optionalText("id"), let entity = optionalText("entity"),
            let eventTime = json["event_time"]?.text.flatMap({ DateTime.microseconds($0) }),
            let publishedAt = json["published_at"]?.text.flatMap({ DateTime.microseconds($0) }),
            let model = json["model"]?.text, let modelVersion = json["model_version"]?.text,
            let contract = json["contract"]?.text, let score = json["score"]?.double,
            let label = json["label"]?.integer,
            let imputed = json["imputed"]?.integer, let outliers = json["outliers"]?.integer,
            let payload = json["payload"]?.text, let origin = VerifierRun.origin(in: json)
        else { return nil }
        self.init(
            eventID: eventID, source: source, id: id, entity: entity, eventTime: eventTime, publishedAt: publishedAt,
            model: model, modelVersion: modelVersion, contract: contract, score: score, label: Int(label),
            imputed: Int(imputed), outliers: Int(outliers), payload: payload, origin: origin)
    }
}
