// DamageKind: ways in which the demo damages an event, and the error code that each must lead to.

import EventContracts

enum DamageKind: String, CaseIterable, Sendable {
    case truncatedJSON = "truncated JSON"
    case invalidUTF8 = "invalid UTF-8"
    case duplicateKey = "a key twice"
    case notANumber = "NaN as a number"
    case hugeNumber = "the number 1e999"
    case textForNumber = "text instead of a number"
    case missingField = "a required field missing"
    case unknownField = "an unknown field"
    case outOfRange = "latitude 123.4"
    case tooDeep = "nested 12 deep"
    case tooLarge = "70,000 bytes"
    case emptyValue = "no bytes at all"
    case tombstone = "a null value"
    case array = "an array"
    case badTime = "no such day"
    case futureTime = "event time next year"
    case missingIdentifier = "CloudEvent without id"
    case specVersion = "CloudEvents 0.1"
    case contentType = "XML by its content type"
    case conflictingDuplicate = "known id, other payload"
    case missingKey = "no record key"

    var code: ErrorCode {
        switch self {
        case .truncatedJSON: .malformedJSON
        case .invalidUTF8: .notUTF8
        case .duplicateKey: .duplicateKey
        case .notANumber: .notFinite
        case .hugeNumber: .notFinite
        case .textForNumber: .wrongType
        case .missingField: .missingField
        case .unknownField: .unknownField
        case .outOfRange: .outOfRange
        case .tooDeep: .tooDeep
        case .tooLarge: .tooLarge
        case .emptyValue, .tombstone: .emptyValue
        case .array: .notAnObject
        case .badTime: .badTime
        case .futureTime: .clockSkew
        case .missingIdentifier: .missingAttribute
        case .specVersion: .unsupportedSpecVersion
        case .contentType: .unsupportedContentType
        case .conflictingDuplicate: .conflictingDuplicate
        case .missingKey: .missingAttribute
        }
    }
}

/// Damages events of the housing pipeline.
struct EventDamager: Sendable {
    let encoder: EventEncoder
    /// A time too far ahead of the clock, RFC 3339.
    let futureTime: String

    /// A damaged event. It has the key of `event`, so that it stands in the same partition as its neighbours.
    /// - Parameters:
    ///   - event: a valid event, which for `conflictingDuplicate` must have been sent before, as plain JSON.
    ///   - number: makes the id unique.
    func damage(_ event: SourceEvent, _ kind: DamageKind, number: Int) -> OutgoingEvent {
        let id = "damaged-\(number)"
        let fresh = event.replacing("id", with: JSONText.string(id), id: id)
        let plain = encoder.encode(fresh, as: .json)
        var binary = encoder.encode(fresh, as: .cloudEventsBinary)
        func payload(_ text: String) -> OutgoingEvent { OutgoingEvent(key: plain.key, value: Array(text.utf8)) }
        func with(_ name: String, _ value: String) -> OutgoingEvent {
            payload(fresh.replacing(name, with: value).payload)
        }
        switch kind {
        case .truncatedJSON: return payload(String(fresh.payload.dropLast(fresh.payload.count / 3)))
        case .invalidUTF8:
            let bytes = Array(fresh.replacing("id", with: "\"damaged-#\"").payload.utf8)
            return OutgoingEvent(key: plain.key, value: bytes.map { $0 == UInt8(ascii: "#") ? 0xff : $0 })
        case .duplicateKey: return payload(fresh.payload.dropLast() + ",\"MedInc\":1.5}")
        case .notANumber: return with("MedInc", "NaN")
        case .hugeNumber: return with("MedInc", "1e999")
        case .textForNumber: return with("HouseAge", "\"twenty\"")
        case .missingField: return payload(fresh.removing("Longitude").payload)
        case .unknownField: return payload(fresh.payload.dropLast() + ",\"Colour\":\"blue\"}")
        case .outOfRange: return with("Latitude", "123.4")
        case .tooDeep:
            return with("MedInc", String(repeating: "[", count: 12) + "1" + String(repeating: "]", count: 12))
        case .tooLarge: return payload(fresh.payload + String(repeating: " ", count: 70_000 - fresh.payload.utf8.count))
        case .emptyValue: return payload("")
        case .tombstone: return OutgoingEvent(key: plain.key, value: nil)
        case .array: return payload("[\(fresh.payload)]")
        case .badTime: return with("timestamp", "\"2021-02-30T00:00:00Z\"")
        case .futureTime: return with("timestamp", JSONText.string(futureTime))
        case .missingIdentifier: binary.headers.removeAll { $0.name == "ce_id" }
        case .specVersion: binary.set("ce_specversion", "0.1")
        case .contentType: binary.set("content-type", "application/xml")
        case .conflictingDuplicate: return payload(event.replacing("HouseAge", with: "199").payload)
        case .missingKey: return OutgoingEvent(key: nil, value: plain.value)
        }
        return binary
    }
}

extension OutgoingEvent {
    mutating func set(_ name: String, _ value: String) {
        headers = headers.map { $0.name == name ? Header(name, value) : $0 }
    }
}

extension SourceEvent {
    /// The event with another value (JSON text) of one member. Payloads of the demo are flat and written by `EventFile`,
    /// so a member ends at the next comma followed by a quote, or at the object's end.
    func replacing(_ name: String, with value: String, id: String? = nil) -> SourceEvent {
        var copy = self
        if let id { copy.id = id }
        guard let start = payload.firstRange(of: "\"\(name)\":")?.upperBound else { return copy }
        let end = payload[start...].firstRange(of: ",\"")?.lowerBound ?? payload.index(before: payload.endIndex)
        copy.payload = payload[..<start] + value + payload[end...]
        return copy
    }

    func removing(_ name: String) -> SourceEvent {
        var copy = self
        let members = payload.dropFirst().dropLast().split(separator: ",").filter { !$0.hasPrefix("\"\(name)\":") }
        copy.payload = "{\(members.joined(separator: ","))}"
        return copy
    }
}
