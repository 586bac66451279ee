// VerifierTests: a right world passes, and every planted violation is found.

import Foundation
import Testing

@testable import Oracle

@Suite("The oracle judges snapshots")
struct VerifierTests {
    @Test("A world without faults is content, with every kind of outcome in it")
    func content() throws {
        let report = try SyntheticWorld().verify()
        #expect(report.isContent, "\(report.text)")
        #expect(report.published == 46)
        #expect(report.rows == 26)
        #expect(report.duplicates == 4)
        #expect(report.deadLetters == 16)
        #expect(
            Set(report.deadLettersByCode.keys) == [
                "clock_skew", "conflicting_duplicate", "empty_value", "malformed_json", "missing_feature",
                "missing_field", "out_of_range", "outlier_rejected",
            ])
        #expect(report.exitStatus == 0)
        #expect(report.text.hasPrefix("published 46 = rows 26 + dead letters 16 + duplicates 4"))
    }

    /// A planted fault: its name, what it does to the world, and the violations that must be found.
    struct Fault: Sendable, CustomTestStringConvertible {
        var name: String
        var kinds: Set<Violation.Kind>
        var plant: @Sendable (inout World) throws -> Void
        var testDescription: String { name }

        init(_ name: String, _ kinds: Set<Violation.Kind>, _ plant: @escaping @Sendable (inout World) throws -> Void) {
            self.name = name
            self.kinds = kinds
            self.plant = plant
        }
    }

    static let faults: [Fault] = [
        Fault("a lost row (commit before effect)", [.missingRow]) { $0.rows.remove(at: 3) },
        Fault("a lost batch at shutdown", [.missingRow]) { world in
            world.rows.removeLast(5)
            world.predictions.records.removeAll { $0.origin.partition == 1 && $0.origin.offset >= 8 }
        },
        Fault("a row of no input record", [.extraRow]) { world in
            var row = world.rows[0]
            row.origin.offset = 1_000
            row.eventID = EventIdentifier(high: 1, low: 1)
            world.rows.append(row)
        },
        Fault("a second row of one input record", [.repeatedRow, .wrongEventID]) { world in
            var row = world.rows[0]
            row.eventID = EventIdentifier(high: 1, low: 1)
            world.rows.append(row)
        },
        Fault("two rows of one event id", [.repeatedRow]) { $0.rows.append($0.rows[2]) },
        Fault("a wrong score", [.wrongScore]) { $0.rows[4].score += 2e-4 },
        Fault("a score that is no number", [.wrongScore]) { $0.rows[4].score = .nan },
        Fault("a wrong label", [.wrongLabel]) { $0.rows[4].label = 1 - $0.rows[4].label },
        Fault("a wrong event id", [.wrongEventID]) { $0.rows[5].eventID = EventIdentifier(high: 9, low: 9) },
        Fault("another model version", [.wrongModel]) { $0.rows[6].modelVersion = "8" },
        Fault("another contract", [.wrongContract]) { $0.rows[6].contract = "0000000000000000" },
        Fault("another event time", [.wrongContent]) { $0.rows[6].eventTime += 1 },
        Fault("another entity", [.wrongContent]) { $0.rows[6].entity = "other" },
        Fault("a row with another input's place", [.missingRow, .repeatedRow, .wrongEventID, .wrongContent]) { world in
            world.rows[0].origin = world.rows[1].origin
        },
        Fault("a swallowed dead letter", [.missingDeadLetter]) { world in
            world.deadLetters[.inputs]?.records.removeFirst()
        },
        Fault("a swallowed dead letter of events", [.missingRow, .missingDeadLetter]) { world in
            world.deadLetters[.events]?.records.removeFirst()
        },
        Fault("a dead letter with a wrong code", [.wrongCode]) { world in
            Self.replaceHeader("x-error-code", "too_large", in: &world)
        },
        Fault("altered bytes in a dead letter", [.alteredDeadLetter]) { world in
            world.deadLetters[.inputs]?.records[0].value?[3] ^= 1
        },
        Fault("a dead letter with an empty value for null", [.alteredDeadLetter]) { world in
            let index = try #require(world.deadLetters[.inputs]?.records.firstIndex { $0.value == nil })
            world.deadLetters[.inputs]?.records[index].value = []
        },
        Fault("a dead letter without its key", [.alteredDeadLetter]) { world in
            world.deadLetters[.inputs]?.records[0].key = nil
        },
        Fault("a dead letter without an original header", [.alteredDeadLetter]) { world in
            let index = try #require(world.deadLetters[.inputs]?.records.firstIndex { $0.hasHeader("x-note") })
            world.deadLetters[.inputs]?.records[index].headers.removeFirst()
        },
        Fault("a dead letter without its original timestamp", [.alteredDeadLetter]) { world in
            world.deadLetters[.inputs]?.records[0].headers.removeAll { $0.name == Array("x-original-timestamp".utf8) }
        },
        Fault("a dead letter of no record", [.extraDeadLetter]) { world in
            var record = SyntheticWorld.record(0, 777, "x")
            record = SyntheticWorld.letter(
                of: record, topic: "penstock.housing.inputs", code: "malformed_json", offset: 90)
            world.deadLetters[.inputs]?.records.append(record)
        },
        Fault("a valid event dead-lettered", [.validEventDeadLettered, .accounting]) { world in
            let row = world.rows.remove(at: 2)
            let original = try #require(world.inputs.records.first { $0.origin == row.origin })
            world.deadLetters[.inputs]?.records.append(
                SyntheticWorld.letter(of: original, topic: "penstock.housing.inputs", code: "poison_record", offset: 91)
            )
        },
        Fault("a row and a dead letter for one record", [.severalOutcomes, .accounting]) { world in
            let original = try #require(world.inputs.records.first { $0.origin == world.rows[2].origin })
            world.deadLetters[.inputs]?.records.append(
                SyntheticWorld.letter(of: original, topic: "penstock.housing.inputs", code: "poison_record", offset: 91)
            )
        },
        Fault("swapped order of one key", [.swappedOrder]) { world in
            // Offsets 0 and 3 of partition 0 have the key key-0.
            let first = world.predictions.records[0].value
            world.predictions.records[0].value = world.predictions.records[3].value
            world.predictions.records[3].value = first
        },
        Fault("a wrong offset by one", [.wrongOffset]) { $0.sinkOffsets[1]? -= 1 },
        Fault("an absent offset", [.wrongOffset]) { $0.sinkOffsets[0] = nil },
        Fault("an offset of an unknown partition", [.wrongOffset]) { $0.sinkOffsets[7] = 3 },
        Fault("a lost duplicate notice", [.missingDuplicate]) { $0.duplicates.records.removeFirst() },
        Fault("an event taken for a repeat", [.eventTakenForRepeat, .accounting]) { world in
            let row = world.rows.remove(at: 5)
            world.tableDuplicates.append(TableDuplicate(eventID: row.eventID, origin: row.origin))
        },
        Fault("a repeat that became a row", [.repeatAccepted, .repeatedRow, .accounting]) { world in
            let origin = try #require(VerifierRun.origin(in: StrictJSON.parse(world.duplicates.records[0].value ?? [])))
            world.duplicates.records.removeFirst()
            var row = world.rows[0]
            row.origin = origin
            world.rows.append(row)
        },
        Fault("an invalid record that became a row", [.invalidEventAccepted, .accounting]) { world in
            let letter = try #require(world.deadLetters[.inputs]?.records.first)
            world.deadLetters[.inputs]?.records.removeFirst()
            let origin = try #require(world.inputs.records.first { $0.value == letter.value }?.origin)
            var row = world.rows[0]
            row.origin = origin
            row.eventID = EventIdentifier(high: 3, low: 3)
            world.rows.append(row)
        },
        Fault("a lost prediction", [.missingPrediction]) { $0.predictions.records.remove(at: 4) },
        Fault("a prediction of no input record", [.extraPrediction]) { world in
            var record = world.predictions.records[0]
            record.origin.offset = 500
            let text = String(decoding: record.value ?? [], as: UTF8.self)
            record.value = Array(
                text.replacingOccurrences(of: #""input_offset":0"#, with: #""input_offset":555"#).utf8)
            world.predictions.records.append(record)
        },
        Fault("a prediction that is no JSON", [.malformedRecord, .missingPrediction]) { world in
            world.predictions.records[0].value = [0x7b]
        },
        Fault("a prediction under another key", [.wrongContent]) { world in
            world.predictions.records[0].key = Array("stranger".utf8)
        },
    ]

    private static func replaceHeader(_ name: String, _ text: String, in world: inout World) {
        guard let letter = world.deadLetters[.inputs]?.records.first else { return }
        let index = letter.headers.lastIndex { $0.name == Array(name.utf8) }
        world.deadLetters[.inputs]?.records[0].headers[index ?? 0].value = Array(text.utf8)
    }

    @Test("A planted violation is found", arguments: faults)
    func planted(_ fault: Fault) throws {
        var synthetic = try SyntheticWorld()
        try fault.plant(&synthetic.world)
        let report = try synthetic.verify()
        #expect(!report.isContent)
        #expect(report.exitStatus == 1)
        let found = Set(report.violationsByKind.keys.compactMap { Violation.Kind(rawValue: $0) })
        #expect(!found.isDisjoint(with: fault.kinds), "\(report.text)")
        #expect(found.isSubset(of: fault.kinds.union([.accounting])), "\(report.text)")
        for violation in report.violations where violation.kind == .missingRow || violation.kind == .wrongScore {
            #expect(violation.eventID != nil && violation.partition != nil && violation.offset != nil)
        }
    }

    @Test("At most twenty violations are named, and all are counted")
    func manyViolations() throws {
        var synthetic = try SyntheticWorld()
        synthetic.world.rows.removeAll()
        let report = try synthetic.verify()
        #expect(report.violations.count == OracleReport.violationsShownMax)
        #expect(report.violationCount == 26 + 1)
        #expect(report.text.contains("and 7 more"))
        let decoded = try JSONDecoder().decode(OracleReport.self, from: Data(report.json().utf8))
        #expect(decoded.violations == report.violations)
    }

    @Test("Repeats in topics after a restart are no violation")
    func redelivery() throws {
        var synthetic = try SyntheticWorld()
        var ends = synthetic.world.predictions.ends
        for record in synthetic.world.predictions.records.prefix(4) {
            var copy = record
            copy.origin.offset = ends[0, default: 0]
            ends[0, default: 0] += 1
            synthetic.world.predictions.records.append(copy)
        }
        synthetic.world.predictions.ends = ends
        synthetic.world.sinkOffsets = ends
        let letters = synthetic.world.deadLetters[.inputs]?.records ?? []
        synthetic.world.deadLetters[.inputs]?.records += letters.prefix(2)
        synthetic.world.duplicates.records += synthetic.world.duplicates.records.prefix(1)
        let report = try synthetic.verify()
        #expect(report.isContent, "\(report.text)")
    }

    @Test("Of one event in two partitions either record may be the row")
    func acrossPartitions() throws {
        let event = SyntheticWorld.event("same")
        let records = [[SyntheticWorld.record(0, 0, event)], [SyntheticWorld.record(1, 0, event)]]
        var synthetic = try SyntheticWorld(records: records)
        #expect(synthetic.world.rows.count == 2)
        for kept in [0, 1] {
            var world = synthetic.world
            let other = world.rows[1 - kept]
            world.rows = [world.rows[kept]]
            world.tableDuplicates = [TableDuplicate(eventID: other.eventID, origin: other.origin)]
            var trial = synthetic
            trial.world = world
            let report = try trial.verify()
            #expect(report.isContent, "\(report.text)")
        }
        let rows = synthetic.world.rows
        synthetic.world.rows = []
        synthetic.world.tableDuplicates = rows.map { TableDuplicate(eventID: $0.eventID, origin: $0.origin) }
        #expect(try synthetic.verify().violationsByKind["missing-row"] == 1)
    }

    @Test("A record that came with error headers of its own is found again by its bytes")
    func disguisedLetters() throws {
        let headers = [
            LogHeader("__connect.errors.partition", "5"), LogHeader("__connect.errors.offset", "5"),
            LogHeader("x-error-code", "made_up"),
        ]
        let records = [[SyntheticWorld.record(0, 0, "[]", headers: headers), SyntheticWorld.record(0, 1, "{}")]]
        let report = try SyntheticWorld(records: records).verify()
        #expect(report.isContent, "\(report.text)")
        #expect(report.deadLetters == 2)
    }

    @Test("Rows older than the input log are counted, not judged")
    func truncatedLog() throws {
        var synthetic = try SyntheticWorld()
        synthetic.world.inputs.starts[0] = 2
        synthetic.world.inputs.records.removeAll { $0.origin.partition == 0 && $0.origin.offset < 2 }
        let report = try synthetic.verify()
        #expect(report.isContent, "\(report.text)")
        #expect(report.beforeLogStart == 2)
    }
}
