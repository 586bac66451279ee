// DemoPlanTests: what the demo publishes, and the checks of what became of it.

import EventContracts
import Foundation
import Testing

@testable import PenstockCommand

@Suite("The demo's plan and its checks")
struct DemoPlanTests {
    static let encoder = EventEncoder(source: "/housing/plain", type: "dev.penstock.housing.event")

    static func events(_ count: Int) -> [SourceEvent] {
        (0..<count).map { index in
            let time = "2021-06-\(index % 28 < 9 ? "0" : "")\(index % 28 + 1)T00:00:00Z"
            return SourceEvent(
                payload: "{\"id\":\"\(index)\",\"MedInc\":3.4583,\"HouseAge\":24.0,\"Latitude\":33.81,"
                    + "\"Longitude\":-116.25,\"timestamp\":\"\(time)\"}",
                id: "\(index)", time: time, key: "33.81:-116.25")
        }
    }

    static let plan = DemoPlan(events: events(3_000), encoder: encoder, futureTime: "2099-01-01T00:00:00.000Z")

    @Test("The plan holds each event once, 60 damaged ones and 100 repeats")
    func counts() {
        #expect(Self.plan.rowCount == 3_000)
        #expect(Self.plan.deadLetterCount == 60)
        #expect(Self.plan.duplicateCount == 100)
        #expect(Self.plan.items.count == 3_160)
    }

    @Test("At least twelve kinds of damage occur, each with its own way to be wrong")
    func kinds() {
        var kinds: Set<DamageKind> = []
        for item in Self.plan.items {
            if case .deadLetter(let kind) = item.expectation { kinds.insert(kind) }
        }
        #expect(kinds == Set(DamageKind.allCases))
        #expect(kinds.count >= 12)
        #expect(Set(kinds.map(\.code)).count >= 12)
        #expect(Self.plan.expectedCodes.values.reduce(0, +) == 60)
    }

    @Test("The plan is the same in every run, and another with another seed")
    func determinism() {
        let again = DemoPlan(events: Self.events(3_000), encoder: Self.encoder, futureTime: "2099-01-01T00:00:00.000Z")
        #expect(again.items.map(\.event) == Self.plan.items.map(\.event))
        let other = DemoPlan(
            events: Self.events(3_000), encoder: Self.encoder, futureTime: "2099-01-01T00:00:00.000Z", seed: 1)
        #expect(other.items.map(\.event) != Self.plan.items.map(\.event))
    }

    @Test("A repeat is byte for byte an earlier valid event")
    func repeats() {
        for (index, item) in Self.plan.items.enumerated() {
            guard case .duplicate(let original) = item.expectation else { continue }
            #expect(original < index)
            #expect(Self.plan.items[original].event == item.event)
            guard case .row = Self.plan.items[original].expectation else {
                Issue.record("repeats something that is no row")
                continue
            }
        }
    }

    @Test("A conflicting duplicate comes after the event that it contradicts, with the same key and id")
    func conflicts() throws {
        let items = Self.plan.items
        for (index, item) in items.enumerated() where item.expectation == .deadLetter(.conflictingDuplicate) {
            let id = try #require(Self.identifier(item.event))
            let original = try #require(items[..<index].firstIndex { $0.expectation == .row(id: id) })
            #expect(items[original].event.headers.isEmpty, "plain JSON, as the conflict is")
            #expect(items[original].event.key == item.event.key)
            #expect(items[original].event.value != item.event.value)
        }
    }

    @Test("Damaged events do not take the ids of valid ones, but for conflicts")
    func freshIdentifiers() {
        for item in Self.plan.items {
            guard case .deadLetter(let kind) = item.expectation, kind != .conflictingDuplicate,
                let id = Self.identifier(item.event)
            else { continue }
            #expect(id.hasPrefix("damaged-"), "\(kind)")
        }
    }

    @Test("Each kind of damage is what its name says", arguments: DamageKind.allCases)
    func damage(_ kind: DamageKind) throws {
        let event = Self.events(1)[0]
        let damager = EventDamager(encoder: Self.encoder, futureTime: "2099-01-01T00:00:00Z")
        let damaged = damager.damage(event, kind, number: 7)
        #expect(damaged != Self.encoder.encode(event, as: .json))
        let bytes = damaged.value ?? []
        let text = String(decoding: bytes, as: UTF8.self)
        let object = (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any]
        switch kind {
        case .truncatedJSON, .notANumber: #expect(object == nil)
        case .invalidUTF8: #expect(String(validating: bytes, as: UTF8.self) == nil)
        case .duplicateKey: #expect(text.components(separatedBy: "\"MedInc\"").count == 3)
        case .hugeNumber: #expect(text.contains("\"MedInc\":1e999"))
        case .textForNumber: #expect(object?["HouseAge"] is String)
        case .missingField: #expect(object != nil && object?["Longitude"] == nil)
        case .unknownField: #expect(object?["Colour"] != nil)
        case .outOfRange: #expect(object?["Latitude"] as? Double == 123.4)
        case .tooDeep: #expect(text.contains("[[[[[[[[[[[["))
        case .tooLarge: #expect(bytes.count == 70_000 && object != nil)
        case .emptyValue: #expect(damaged.value == [])
        case .tombstone: #expect(damaged.value == nil)
        case .array: #expect(text.hasPrefix("[{"))
        case .badTime: #expect(object?["timestamp"] as? String == "2021-02-30T00:00:00Z")
        case .futureTime: #expect(object?["timestamp"] as? String == "2099-01-01T00:00:00Z")
        case .missingIdentifier: #expect(!damaged.headers.contains { $0.name == "ce_id" } && object != nil)
        case .specVersion: #expect(damaged.headers.contains(.init("ce_specversion", "0.1")))
        case .contentType: #expect(damaged.headers.contains(.init("content-type", "application/xml")))
        case .conflictingDuplicate: #expect(object?["HouseAge"] as? Int == 199 && object?["id"] as? String == "0")
        case .missingKey: #expect(damaged.key == nil && object != nil)
        }
        if kind != .missingKey { #expect(damaged.key == event.key.map { Array($0.utf8) }) }
    }

    /// The id within the payload, or nil when the payload cannot be read.
    static func identifier(_ event: OutgoingEvent) -> String? {
        guard let value = event.value else { return nil }
        return ((try? JSONSerialization.jsonObject(with: Data(value))) as? [String: Any])?["id"] as? String
    }

    // MARK: The checks

    /// A run in which everything went as planned.
    static func perfect() -> (positions: [Publisher.Position], outcome: DemoOutcome) {
        var outcome = DemoOutcome()
        var positions: [Publisher.Position] = []
        for (index, item) in plan.items.enumerated() {
            let origin = Publisher.Position(partition: Int32(index % 4), offset: Int64(index / 4))
            positions.append(origin)
            switch item.expectation {
            case .row(let id): outcome.rows.append(.init(origin: origin, id: id, month: "2021-06", score: 0.5))
            case .duplicate: outcome.duplicates.append(origin)
            case .deadLetter(let kind):
                outcome.deadLetters.append(
                    .init(
                        origin: origin, code: kind.code.rawValue, key: item.event.key, value: item.event.value,
                        headers: item.event.headers))
            }
        }
        return (positions, outcome)
    }

    static func failures(_ change: (inout DemoOutcome) -> Void) -> [String] {
        var (positions, outcome) = perfect()
        change(&outcome)
        return DemoVerifier(plan: plan, positions: positions, outcome: outcome).checks().filter { !$0.isMet }.map(
            \.name)
    }

    @Test("A run without fault passes all checks, also when a topic shows a record twice")
    func clean() {
        #expect(Self.failures { _ in } == [])
        #expect(Self.failures { $0.deadLetters.append($0.deadLetters[0]) } == [])
        #expect(Self.failures { $0.duplicates.append($0.duplicates[0]) } == [])
    }

    @Test("Every planted fault fails a check")
    func faults() {
        #expect(!Self.failures { $0.rows.removeLast() }.isEmpty, "a lost row")
        #expect(!Self.failures { $0.duplicates.removeLast() }.isEmpty, "a swallowed repeat")
        #expect(!Self.failures { $0.deadLetters.removeLast() }.isEmpty, "a swallowed dead letter")
        #expect(!Self.failures { $0.rows.append($0.rows[0]) }.isEmpty, "a row twice")
        #expect(!Self.failures { $0.rows[0].id = "another" }.isEmpty, "another event's row")
        #expect(!Self.failures { $0.duplicates.append($0.rows[0].origin) }.isEmpty, "two outcomes")
        #expect(!Self.failures { $0.deadLetters[0].code = "poison_record" }.isEmpty, "a wrong code")
        #expect(!Self.failures { $0.deadLetters[0].headers.append(.init("x", "y")) }.isEmpty, "changed headers")
        #expect(
            !Self.failures { outcome in
                let row = outcome.rows.removeLast()
                outcome.deadLetters.append(
                    .init(origin: row.origin, code: "wrong_type", key: nil, value: nil, headers: []))
            }.isEmpty, "a valid event in a dead-letter topic, although the balance holds")
    }

    @Test("Quality by month joins rows and labels by the publisher's id")
    func quality() {
        let rows = [
            ("1", "2021-06", 0.9), ("2", "2021-06", 0.1), ("3", "2021-07", 0.2), ("4", "2021-07", 0.8),
            ("5", "2021-07", 0.5),
        ]
        .enumerated().map { index, row in
            DemoOutcome.Row(
                origin: .init(partition: 0, offset: Int64(index)), id: row.0, month: row.1, score: row.2)
        }
        let (months, unlabelled) = MonthlyQuality.compute(
            rows, labels: ["1": 1, "2": 0, "3": 1, "4": 0], threshold: 0.5)
        #expect(months.map(\.month) == ["2021-06", "2021-07"])
        #expect(months.map(\.auc) == [1, 0])
        #expect(months.map(\.accuracy) == [1, 0])
        #expect(unlabelled == 1)
    }
}
