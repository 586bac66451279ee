// HousingStreamTests: the three orders of the housing rows, and their late labels.

import EventContracts
import Foundation
import Testing

@testable import PenstockCommand

@Suite("The housing stream")
struct HousingStreamTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "topics/housing/data").path

    private func stream(_ kind: StreamKind, seed: UInt64 = 1) throws -> HousingStream {
        try HousingStream(kind: kind, folder: Self.folder, seed: seed)
    }

    @Test("The expansion has 5,832 southern reference rows, 2,122 more of them, then 6,110 northern ones")
    func expansion() throws {
        let stream = try stream(.expansion)
        #expect(stream.reference.count == 5_832 && stream.reference.allSatisfy { !$0.isNorth })
        #expect(stream.change == 2_122 && stream.live.count == 8_232)
        #expect(stream.live[2_122...].allSatisfy { $0.isNorth } && stream.live[..<2_122].allSatisfy { !$0.isNorth })
        #expect(try stream.live == self.stream(.expansion).live)
        #expect(try stream.live != self.stream(.expansion, seed: 2).live)
    }

    @Test("The original order keeps rows and times of the data; the control mixes them")
    func others() throws {
        let original = try stream(.original)
        #expect(RFC3339.text(original.live[0].time) == "2021-06-01T00:00:00.000000Z")
        #expect(original.live[0].id == "5832" && original.live[0].values[0] == "3.4583")
        let control = try stream(.control)
        let north = control.reference.count { $0.isNorth }
        #expect(abs(north - 5_832 * 6_110 / 14_064) < 200)
        func content(_ stream: HousingStream) -> [String] {
            (stream.reference + stream.live).map { $0.values.joined(separator: ",") + ",\($0.label)" }.sorted()
        }
        #expect(content(control) == content(original))
    }

    @Test("Every event has one label, a week late, out of order, and published when it is known")
    func labels() throws {
        let stream = try stream(.expansion)
        #expect(Set(stream.labels.map(\.event)).count == stream.live.count)
        let delays = stream.labels.map { $0.time - stream.live[$0.event].time }
        #expect(delays.allSatisfy { (7 * 24 * HousingStream.hour..<8 * 24 * HousingStream.hour).contains($0) })
        #expect(stream.labels.map(\.event) != stream.labels.map(\.event).sorted())
        var now = Int64.min
        var published = 0
        for item in stream.items {
            switch item {
            case .event(let index):
                #expect(stream.live[index].time > now)
                now = stream.live[index].time
            case .label(let index):
                #expect(index == published)
                published += 1
            }
        }
        #expect(published == stream.live.count && stream.items.count == 2 * stream.live.count)
    }

    @Test("A label names the event id that its event gets from ingest")
    func labelRecord() throws {
        let stream = try stream(.original)
        let label = stream.labelRecord(0)
        let event = stream.live[stream.labels[0].event]
        let text = String(decoding: label.value ?? [], as: UTF8.self)
        #expect(
            text.hasPrefix(
                "{\"id\":\"\(event.id)\",\"event_time\":\"\(RFC3339.text(event.time))\",\"label\":\(event.label),"))
        #expect(label.key.map { String(decoding: $0, as: UTF8.self) } == stream.sourceEvent(stream.labels[0].event).key)
        #expect(stream.referenceCSV.split(separator: "\n").count == 5_833)
    }
}
