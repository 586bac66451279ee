// OutgoingEvent: an event as it goes to an input topic, in one of the formats that ingest-consumer takes.

/// A record to publish. `nil` key or value is null on the wire, not empty.
struct OutgoingEvent: Equatable, Sendable {
    struct Header: Equatable, Sendable {
        var name: String
        var value: [UInt8]

        init(name: String, value: [UInt8]) {
            self.name = name
            self.value = value
        }

        init(_ name: String, _ value: String) {
            self.name = name
            self.value = Array(value.utf8)
        }
    }

    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [Header] = []
}

/// One event before it has a wire format.
struct SourceEvent: Equatable, Sendable {
    /// JSON object text.
    var payload: String
    var id: String
    /// RFC 3339.
    var time: String
    var key: String?
}

enum WireFormat: String, Sendable, CaseIterable {
    case json
    case cloudEventsBinary = "cloudevents-binary"
    case cloudEventsStructured = "cloudevents-structured"
    /// The three others in turn.
    case mixed

    /// The format of the n-th event.
    func resolved(_ index: Int) -> WireFormat {
        guard self == .mixed else { return self }
        return [WireFormat.json, .cloudEventsBinary, .cloudEventsStructured][index % 3]
    }
}

struct EventEncoder: Sendable {
    /// CloudEvents `source`.
    var source: String
    /// CloudEvents `type`.
    var type: String

    func encode(_ event: SourceEvent, as format: WireFormat) -> OutgoingEvent {
        let key = event.key.map { Array($0.utf8) }
        switch format {
        case .json, .mixed:
            return OutgoingEvent(key: key, value: Array(event.payload.utf8))
        case .cloudEventsBinary:
            return OutgoingEvent(
                key: key, value: Array(event.payload.utf8),
                headers: [
                    .init("ce_specversion", "1.0"), .init("ce_id", event.id), .init("ce_source", source),
                    .init("ce_type", type), .init("ce_time", event.time), .init("content-type", "application/json"),
                ])
        case .cloudEventsStructured:
            let envelope =
                "{\"specversion\":\"1.0\",\"id\":\(JSONText.string(event.id)),\"source\":\(JSONText.string(source)),"
                + "\"type\":\(JSONText.string(type)),\"time\":\(JSONText.string(event.time)),"
                + "\"datacontenttype\":\"application/json\",\"data\":\(event.payload)}"
            return OutgoingEvent(
                key: key, value: Array(envelope.utf8),
                headers: [.init("content-type", "application/cloudevents+json; charset=UTF-8")])
        }
    }
}
