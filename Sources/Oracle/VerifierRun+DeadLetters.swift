// VerifierRun+DeadLetters: every dead letter is the record it came from, byte for byte.

extension VerifierRun {
    mutating func checkDeadLetters() {
        for topic in SourceTopic.allCases {
            guard let letters = world.deadLetters[topic] else { continue }
            let log = world.log(of: topic)
            let records = Dictionary(log.records.map { ($0.origin, $0) }) { first, _ in first }
            // Records that came with error headers of their own keep them, and so their letters do not tell their origin.
            let disguised = log.records.filter {
                $0.hasHeader("__connect.errors.partition") || $0.hasHeader("__connect.errors.offset")
            }
            noted.removeAll()
            for letter in letters.records { check(letter, of: topic, records: records, disguised: disguised, log: log) }
        }
    }

    private mutating func check(
        _ letter: LogRecord, of topic: SourceTopic, records: [Origin: LogRecord], disguised: [LogRecord], log: TopicLog
    ) {
        let place = "\(verifier.facts.root).\(topic.rawValue).dlq, \(letter.origin)"
        if let original = disguised.first(where: { Self.isLetter(letter, of: $0) }) {
            return note(letter, original, topic, place)
        }
        guard let partition = letter.headerText("__connect.errors.partition").flatMap({ Int32($0) }),
            let offset = letter.headerText("__connect.errors.offset").flatMap({ Int64($0) })
        else {
            report.add(
                Violation(.alteredDeadLetter, place, "its headers do not tell the partition and offset it came from"))
            return
        }
        let origin = Origin(partition: partition, offset: offset)
        guard let original = records[origin] else {
            // What retention removed cannot be compared any more.
            if offset < log.starts[partition] ?? 0 { return }
            report.add(
                Violation(
                    .extraDeadLetter, place, "no record of \(topic.rawValue) stands at \(origin)",
                    origin: topic == .inputs ? origin : nil))
            return
        }
        note(letter, original, topic, place)
    }

    /// Whether key and value are equal and the original headers stand first, in their order.
    private static func isLetter(_ letter: LogRecord, of original: LogRecord) -> Bool {
        letter.key == original.key && letter.value == original.value
            && Array(letter.headers.prefix(original.headers.count)) == original.headers
    }

    private mutating func note(_ letter: LogRecord, _ original: LogRecord, _ topic: SourceTopic, _ place: String) {
        guard let origin = Self.inputOrigin(of: original, topic) else {
            report.add(
                Violation(.malformedRecord, place, "the record does not tell which input record it came from"))
            return
        }
        noteRepeat(!noted.insert(original.origin).inserted, place, origin)
        let eventID = expectations.byOrigin[origin]?.event?.eventID
        func altered(_ message: String) {
            report.add(Violation(.alteredDeadLetter, place, message, eventID: eventID, origin: origin))
        }
        if letter.key != original.key { altered("its key is not the original's") }
        if letter.value != original.value { altered("its value is not the original's, byte for byte") }
        if Array(letter.headers.prefix(original.headers.count)) != original.headers {
            altered("the original headers do not stand first in it, byte for byte")
        }
        var added = letter
        added.headers = Array(letter.headers.dropFirst(original.headers.count))
        let topicName = "\(verifier.facts.root).\(topic.rawValue)"
        func expect(_ name: String, _ text: String) {
            if !original.hasHeader(name), added.headerText(name) != text {
                altered("its header \(name) is \(added.headerText(name) ?? "absent"), expected \(text)")
            }
        }
        expect("__connect.errors.topic", topicName)
        expect("__connect.errors.partition", "\(original.origin.partition)")
        expect("__connect.errors.offset", "\(original.origin.offset)")
        expect("x-original-timestamp", "\(original.timestampMilliseconds)")
        let named = added.headerText("__connect.errors.exception.class.name").map {
            String($0.dropFirst("penstock.".count))
        }
        guard let code = added.headerText("x-error-code") ?? named else {
            if !original.hasHeader("x-error-code") { altered("it has no header x-error-code") }
            // The original's own headers hide the code: any code that may stand there is taken.
            let allowed = expectations.byOrigin[origin]?.allowed.first {
                if case .deadLetter(topic, _) = $0 { true } else { false }
            }
            if let allowed { found[origin, default: []].insert(allowed) }
            return
        }
        found[origin, default: []].insert(.deadLetter(topic, code))
    }

    /// Which input record a record of `topic` stems from.
    static func inputOrigin(of record: LogRecord, _ topic: SourceTopic) -> Origin? {
        switch topic {
        case .inputs: return record.origin
        case .events, .features:
            guard let value = record.value, value.count >= 112, let offset = Bytes.read(Int64.self, value, at: 56),
                let partition = Bytes.read(Int32.self, value, at: 64)
            else { return nil }
            return Origin(partition: partition, offset: offset)
        case .predictions:
            guard let value = record.value, let json = try? StrictJSON.parse(value) else { return nil }
            return origin(in: json)
        }
    }

    static func origin(in json: JSONValue) -> Origin? {
        guard let partition = json["input_partition"]?.integer.flatMap({ Int32(exactly: $0) }),
            let offset = json["input_offset"]?.integer
        else { return nil }
        return Origin(partition: partition, offset: offset)
    }
}
