// VerifierRun+Internal: the internal topics `events` and `features`, each topic's repeats, and the groups' offsets.

extension VerifierRun {
    /// Newest input offset seen, per partition, key and input partition.
    struct OrderKey: Hashable {
        var partition: Int32
        var key: [UInt8]
        var inputPartition: Int32
    }

    // MARK: - Internal topics

    mutating func checkInternalTopics() {
        checkInternal(.events, kind: 1, contract: nil) { expectation in
            expectation.allowed.contains { outcome in
                switch outcome {
                case .duplicate, .deadLetter(.inputs, _): false
                default: true
                }
            }
        }
        checkInternal(.features, kind: 2, contract: verifier.model.contract) { expectation in
            expectation.allowed.contains { outcome in
                switch outcome {
                case .duplicate, .deadLetter(.inputs, _), .deadLetter(.events, _): false
                default: true
                }
            }
        }
    }

    private mutating func checkInternal(
        _ topic: SourceTopic, kind: UInt8, contract: String?, mayHold: (Expectation) -> Bool
    ) {
        guard world.internalTopics.contains(topic) else { return }
        var seen: Set<Origin> = []
        var newest: [OrderKey: Int64] = [:]
        for record in world.log(of: topic).records {
            let place = "\(verifier.facts.root).\(topic.rawValue), \(record.origin)"
            guard let value = record.value, value.count >= 112, value[0] == 1, value[1] == kind,
                let origin = Self.inputOrigin(of: record, topic), let high = Bytes.readBig(value, at: 8),
                let low = Bytes.readBig(value, at: 16), let hash = Bytes.readBig(value, at: 80)
            else {
                report.add(
                    Violation(.malformedRecord, place, "it has no prefix as docs/formats.md describes it"))
                continue
            }
            if isBeforeLogStart(origin) { continue }
            guard let expectation = expectations.byOrigin[origin], let event = expectation.event,
                mayHold(expectation)
            else {
                report.add(
                    Violation(
                        .extraRecord, place, "no input record stands there that may come this far", origin: origin))
                continue
            }
            func violate(_ kind: Violation.Kind, _ message: String) {
                report.add(Violation(kind, place, message, eventID: event.eventID, origin: origin))
            }
            guard seen.insert(origin).inserted else {
                if world.isExact { violate(.repeatedRecord, "the input record stands in the topic a second time") }
                continue
            }
            let eventID = EventIdentifier(high: high, low: low)
            if eventID != event.eventID { violate(.wrongEventID, "event_id is \(eventID), expected \(event.eventID)") }
            if record.key != expectation.record.key { violate(.wrongContent, "its key is not the input record's") }
            let eventTime = Bytes.read(Int64.self, value, at: 24)
            if eventTime != event.eventTime {
                violate(.wrongContent, "its event time is \(eventTime ?? 0), expected \(event.eventTime)")
            }
            if let contract {
                let text = Bytes.hexadecimal(hash)
                if text != contract { violate(.wrongContract, "its contract is \(text), expected \(contract)") }
            }
            checkOrder(record, origin, event.eventID, place, &newest)
        }
        checkMissing(topic, seen, mayHold: mayHold)
    }

    /// What reached a later stage must stand in the topic before it; what retention removed cannot be found any more.
    private mutating func checkMissing(_ topic: SourceTopic, _ seen: Set<Origin>, mayHold: (Expectation) -> Bool) {
        guard world.log(of: topic).starts.values.allSatisfy({ $0 == 0 }) else { return }
        for origin in expectations.origins where found[origin] == [.row] && !seen.contains(origin) {
            guard let expectation = expectations.byOrigin[origin], mayHold(expectation) else { continue }
            report.add(
                Violation(
                    .missingRecord, "\(verifier.facts.root).\(topic.rawValue)", "the row's record is not in the topic",
                    eventID: expectation.event?.eventID, origin: origin))
        }
    }

    /// Records of one key keep the order of their input partition.
    mutating func checkOrder(
        _ record: LogRecord, _ origin: Origin, _ eventID: EventIdentifier, _ place: String,
        _ newest: inout [OrderKey: Int64]
    ) {
        guard let key = record.key else { return }
        let order = OrderKey(partition: record.origin.partition, key: key, inputPartition: origin.partition)
        if let last = newest[order], last > origin.offset {
            report.add(
                Violation(
                    .swappedOrder, place, "a later input record of its key, offset \(last), stands before it",
                    eventID: eventID, origin: origin))
        }
        newest[order] = max(newest[order] ?? 0, origin.offset)
    }

    /// In the profile `exact` a record that is in a topic twice for read_committed readers breaks the promise.
    mutating func noteRepeat(_ isRepeat: Bool, _ place: String, _ origin: Origin) {
        guard isRepeat, world.isExact else { return }
        report.add(
            Violation(
                .repeatedRecord, place, "the input record stands in the topic a second time",
                eventID: expectations.byOrigin[origin]?.event?.eventID, origin: origin))
    }

    // MARK: - Offsets

    /// Each group's next offset stands behind the last record of its input, and not behind the end of the log.
    mutating func checkOffsets() {
        check(world.sinkOffsets, of: world.predictions, topic: "predictions", keeper: "PostgreSQL")
        for topic in SourceTopic.allCases {
            guard let offsets = world.groupOffsets[topic] else { continue }
            check(offsets, of: world.log(of: topic), topic: topic.rawValue, keeper: "the consumer group")
        }
    }

    private mutating func check(_ offsets: [Int32: Int64], of log: TopicLog, topic: String, keeper: String) {
        var nextAfterLast: [Int32: Int64] = [:]
        for record in log.records { nextAfterLast[record.origin.partition] = record.origin.offset + 1 }
        for (partition, end) in log.ends.sorted(by: { $0.key < $1.key }) {
            // Markers of transactions may stand behind the last record: an offset among them is as good as the end.
            let first = min(nextAfterLast[partition] ?? log.starts[partition] ?? 0, end)
            let offset = offsets[partition]
            guard !(offset.map { first <= $0 && $0 <= end } ?? (nextAfterLast[partition] == nil)) else { continue }
            report.add(
                Violation(
                    .wrongOffset, "\(verifier.facts.root).\(topic), partition \(partition)",
                    "the next offset in \(keeper) is \(offset.map(String.init) ?? "absent"), the log ends at \(end)"))
        }
        for partition in offsets.keys.sorted() where log.ends[partition] == nil {
            report.add(
                Violation(
                    .wrongOffset, "\(verifier.facts.root).\(topic), partition \(partition)",
                    "\(keeper) has an offset of a partition that does not exist"))
        }
    }
}
