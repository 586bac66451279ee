// HousingStream: the housing rows as a stream of events and late labels, in one of three orders.

import EventContracts
import FoundationEssentials

enum StreamKind: String, Sendable, CaseIterable {
    /// South of 35 degrees first; then the service expands to the north.
    case expansion
    /// As the data come.
    case original
    /// All rows pooled and permuted: nothing ever changes.
    case control
}

/// One row of the data with its place in the stream.
struct StreamEvent: Sendable, Equatable {
    var id: String
    /// Microseconds since the Unix epoch; one event an hour.
    var time: Int64
    /// Values of the numeric columns as the data have them.
    var values: [String]
    var label: UInt8
    var isNorth: Bool
}

/// The label of an event, on its way.
struct StreamLabel: Sendable, Equatable {
    var event: Int
    /// When it becomes known: seven days after the event, give or take.
    var time: Int64
}

/// Reference rows, live events and their labels. Everything follows from the data, the kind and the seed.
struct HousingStream: Sendable {
    static let referenceRows = 5_832
    static let northFrom = 35.0
    /// Time of the first reference row, 2020-10-01T00:00:00Z; one row an hour from then on.
    static let start: Int64 = 1_601_510_400_000_000
    static let hour: Int64 = 3_600_000_000
    static let labelDelay = 7 * 24 * hour
    /// Labels come out of order within a day.
    static let labelJitter = 24 * hour

    let kind: StreamKind
    /// Names of `StreamEvent.values`.
    let columns: [String]
    let reference: [StreamEvent]
    let live: [StreamEvent]
    /// In the order in which they become known.
    let labels: [StreamLabel]

    /// Index in `live` of the first event of the new regime; nil when nothing changes at a known point.
    var change: Int? { kind == .expansion ? live.firstIndex { $0.isNorth } : nil }

    /// - Parameter folder: with reference.csv, analysis.csv and analysis_labels.csv.
    init(kind: StreamKind, folder: String, seed: UInt64) throws {
        self.kind = kind
        let (columns, rows) = try Self.rows(folder)
        self.columns = columns
        guard rows.count > Self.referenceRows else {
            throw CommandFailure(
                "\(folder): \(rows.count) rows are too few, the reference alone needs \(Self.referenceRows)")
        }
        var generator = SeededGenerator(seed: seed)
        var order = rows
        switch kind {
        case .original: break
        case .control: order.shuffle(using: &generator)
        case .expansion:
            var (south, north) = (rows.filter { !$0.isNorth }, rows.filter { $0.isNorth })
            south.shuffle(using: &generator)
            north.shuffle(using: &generator)
            order = south + north
        }
        for index in order.indices {
            order[index].id = String(index)
            order[index].time = Self.start + Int64(index) * Self.hour
        }
        reference = Array(order[..<Self.referenceRows])
        let live = Array(order[Self.referenceRows...])
        self.live = live
        labels = live.indices.map { index in
            StreamLabel(
                event: index,
                time: live[index].time + Self.labelDelay + Int64.random(in: 0..<Self.labelJitter, using: &generator))
        }.sorted { ($0.time, $0.event) < ($1.time, $1.event) }
    }

    private static func rows(_ folder: String) throws -> (columns: [String], rows: [StreamEvent]) {
        let reference = try CSV(path: "\(folder)/reference.csv")
        let analysis = try CSV(path: "\(folder)/analysis.csv")
        let labels = try CSV(path: "\(folder)/analysis_labels.csv")
        let known = try Dictionary(
            labels.rows.map { row in
                (row[try labels.index(of: "id")], row[try labels.index(of: "clf_target")])
            }, uniquingKeysWith: { first, _ in first })
        let columns = analysis.header.filter { $0 != "id" && $0 != "timestamp" }
        let (id, target) = (try analysis.index(of: "id"), try reference.index(of: "clf_target"))
        func row(_ cells: [String], of csv: CSV, label: String?) throws -> StreamEvent {
            guard let label = label.flatMap({ UInt8($0) }), label <= 1 else {
                throw CommandFailure("\(csv.path): a row has no label 0 or 1")
            }
            let latitude = Double(cells[try csv.index(of: "Latitude")])
            return StreamEvent(
                id: "", time: 0, values: try columns.map { cells[try csv.index(of: $0)] }, label: label,
                isNorth: (latitude ?? 0) >= northFrom)
        }
        return (
            columns,
            try reference.rows.map { try row($0, of: reference, label: $0[target]) }
                + analysis.rows.map { try row($0, of: analysis, label: known[$0[id]]) }
        )
    }

    // MARK: As files and records

    /// The labelled reference rows as a CSV file for `penstock fit` and `penstock train`.
    var referenceCSV: String { csv(reference) }
    /// The live events with the labels that nobody knows yet, for judging what was predicted.
    var liveCSV: String { csv(live) }

    private func csv(_ events: [StreamEvent]) -> String {
        var text = (["id"] + columns + ["timestamp", "clf_target"]).joined(separator: ",") + "\n"
        for event in events {
            text += ([event.id] + event.values + [RFC3339.text(event.time), "\(event.label)"]).joined(separator: ",")
            text += "\n"
        }
        return text
    }

    /// What the pipeline publishes, in the order of time: each event at its time, each label when it becomes known.
    enum Item: Sendable {
        case event(Int)
        case label(Int)
    }

    var items: [Item] {
        var items: [Item] = []
        var next = 0
        for (index, event) in live.enumerated() {
            while next < labels.count, labels[next].time <= event.time {
                items.append(.label(next))
                next += 1
            }
            items.append(.event(index))
        }
        return items + (next..<labels.count).map { .label($0) }
    }

    func sourceEvent(_ index: Int) -> SourceEvent {
        let event = live[index]
        let time = RFC3339.text(event.time)
        let fields = zip(columns, event.values).map { name, value in
            "\(JSONText.string(name)):\(value.isEmpty ? "null" : value)"
        }
        return SourceEvent(
            payload: "{\"id\":\(JSONText.string(event.id)),\"timestamp\":\"\(time)\",\(fields.joined(separator: ","))}",
            id: event.id, time: time, key: key(index))
    }

    /// A label record as plain JSON, under the key of its event.
    func labelRecord(_ index: Int) -> OutgoingEvent {
        let label = labels[index]
        let event = live[label.event]
        let text =
            "{\"id\":\(JSONText.string(event.id)),\"event_time\":\"\(RFC3339.text(event.time))\",\"label\":\(event.label),"
            + "\"label_time\":\"\(RFC3339.text(label.time))\"}"
        return OutgoingEvent(key: Array(key(label.event).utf8), value: Array(text.utf8))
    }

    private func key(_ index: Int) -> String {
        let values = Dictionary(zip(columns, live[index].values), uniquingKeysWith: { first, _ in first })
        return "\(values["Latitude"] ?? ""):\(values["Longitude"] ?? "")"
    }
}
