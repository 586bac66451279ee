// DemoPlan: what the demo publishes, in which order, and what must become of each record.

import EventContracts

struct DemoPlan: Sendable {
    enum Expectation: Equatable, Sendable {
        /// A row in PostgreSQL with that publisher's id.
        case row(id: String)
        case deadLetter(DamageKind)
        /// Repeats the record at that index of the plan.
        case duplicate(of: Int)
    }

    struct Item: Sendable {
        var event: OutgoingEvent
        var expectation: Expectation
    }

    static let damagedCount = 60
    static let repeatCount = 100
    static let seed: UInt64 = 0x50454e53544f434b

    private(set) var items: [Item] = []

    /// - Parameters:
    ///   - events: valid events in the order of their times, with a key each.
    ///   - futureTime: RFC 3339, further ahead than the pipeline's clock skew allows.
    init(events: [SourceEvent], encoder: EventEncoder, futureTime: String, seed: UInt64 = DemoPlan.seed) {
        var generator = SeededGenerator(seed: seed)
        let damager = EventDamager(encoder: encoder, futureTime: futureTime)
        let kinds = DamageKind.allCases
        var damaged: [Int: [DamageKind]] = [:]
        // Behind some event each, never before the first: conflicts and repeats need something earlier.
        for number in 0..<(events.isEmpty ? 0 : Self.damagedCount) {
            damaged[Int.random(in: 0..<events.count, using: &generator), default: []].append(
                kinds[number % kinds.count])
        }
        var repeats: [Int: Int] = [:]
        for _ in 0..<(events.isEmpty ? 0 : Self.repeatCount) {
            repeats[Int.random(in: 0..<events.count, using: &generator), default: 0] += 1
        }

        var valid: [Int] = []
        var plain: [Int] = []
        var number = 0
        items.reserveCapacity(events.count + Self.damagedCount + Self.repeatCount)
        for (index, event) in events.enumerated() {
            let format = WireFormat.mixed.resolved(index)
            if format == .json { plain.append(index) }
            valid.append(items.count)
            items.append(Item(event: encoder.encode(event, as: format), expectation: .row(id: event.id)))
            for kind in damaged[index] ?? [] {
                // Plain JSON events are identified by source and id alone, so a changed payload contradicts them.
                let base =
                    kind == .conflictingDuplicate ? plain[Int.random(in: 0..<plain.count, using: &generator)] : index
                number += 1
                items.append(
                    Item(event: damager.damage(events[base], kind, number: number), expectation: .deadLetter(kind)))
            }
            for _ in 0..<(repeats[index] ?? 0) {
                let original = valid[Int.random(in: 0..<valid.count, using: &generator)]
                items.append(Item(event: items[original].event, expectation: .duplicate(of: original)))
            }
        }
    }

    var rowCount: Int { count { if case .row = $0 { true } else { false } } }
    var deadLetterCount: Int { count { if case .deadLetter = $0 { true } else { false } } }
    var duplicateCount: Int { count { if case .duplicate = $0 { true } else { false } } }

    /// How many dead letters of each code must arrive.
    var expectedCodes: [ErrorCode: Int] {
        items.reduce(into: [:]) { codes, item in
            if case .deadLetter(let kind) = item.expectation { codes[kind.code, default: 0] += 1 }
        }
    }

    private func count(_ isCounted: (Expectation) -> Bool) -> Int { items.count { isCounted($0.expectation) } }
}
