// NotifierTests: who hears of an alert, how often, and in which form.

import Alerting
import EventContracts
import Foundation
import MonitorRuntime
import Monitors
import StageRuntime
import Synchronization
import Testing

@Suite("The alert notifier")
struct NotifierTests {
    /// Takes messages, and refuses while it is told to.
    private final class Receiver: Sendable {
        struct Message: Sendable {
            var address: HTTPAddress
            var body: [UInt8]
            var key: String?
        }
        let messages = Mutex<[Message]>([])
        let status = Mutex(200)

        func transport(
            _ body: [UInt8], _ address: HTTPAddress, _ headers: [(name: String, value: String)]
        ) -> Result<Int, HTTPFault> {
            let status = status.withLock { $0 }
            let key = headers.first { $0.name == "Idempotency-Key" }?.value
            if status == 200 { messages.withLock { $0.append(Message(address: address, body: body, key: key)) } }
            return .success(status)
        }

        func keys(_ path: String) -> [String?] {
            messages.withLock { $0.filter { $0.address.path == path }.map(\.key) }
        }
    }

    private static func alert(
        _ state: AlertRecord.State, episode: Int = 1, inhibitedBy: [String] = []
    ) throws -> [UInt8] {
        let time = EventTime(microseconds: World.start)
        let report = MonitoringReport(
            pipeline: "housing", kind: .drift, alert: AlertCatalogue.dataDrift, labels: ["pipeline": "housing"],
            level: .firing, watermark: time, summary: "it moved")
        var record = AlertRecord(
            fingerprint: report.fingerprint, episode: episode, revision: 1, name: report.alert, pipeline: "housing",
            kind: .drift, state: state, severity: .warning, labels: report.labels, summary: report.summary,
            runbook: "runbooks/alert-data-drift.md", startsAt: time, changedAt: time, endsAt: nil, report: report)
        record.inhibitedBy = inhibitedBy
        return try record.event().encoded()
    }

    private static func notifier(_ receiver: Receiver, alertmanager: Bool = true) throws -> AlertNotifier {
        AlertNotifier(
            webhooks: [try HTTPAddress("http://localhost:1/hook")],
            alertmanager: alertmanager ? try HTTPAddress("http://localhost:2/api/v2/alerts") : nil,
            transport: receiver.transport, observer: { _, _, _ in })
    }

    @Test("A webhook hears of the beginning and the end of an episode once; Alertmanager again every minute")
    func messages() throws {
        let receiver = Receiver()
        var notifier = try Self.notifier(receiver)
        let start: Int64 = 1_700_000_000_000_000
        try notifier.take(World.batch([(0, try Self.alert(.suspect))], timestamp: start / 1_000))
        try notifier.tick(nowMicroseconds: start)
        #expect(receiver.messages.withLock { $0.isEmpty })
        try notifier.take(World.batch([(0, try Self.alert(.firing))], timestamp: start / 1_000))
        for second in Int64(0)..<130 { try notifier.tick(nowMicroseconds: start + second * 1_000_000) }
        #expect(receiver.keys("/hook").count == 1)
        #expect(receiver.keys("/api/v2/alerts").count == 3)
        try notifier.take(World.batch([(0, try Self.alert(.resolved))], timestamp: start / 1_000 + 130_000))
        for second in Int64(130)..<1_000 { try notifier.tick(nowMicroseconds: start + second * 1_000_000) }
        let hooks = receiver.keys("/hook").compactMap(\.self)
        #expect(hooks.count == 2 && hooks[0].hasSuffix("-1-firing") && hooks[1].hasSuffix("-1-resolved"))
        // Five minutes of the end, then silence.
        #expect((3 + 5...3 + 7).contains(receiver.keys("/api/v2/alerts").count))
    }

    @Test("A refusal is tried again, later each time; a restart does not repeat what was heard")
    func retries() throws {
        let receiver = Receiver()
        receiver.status.withLock { $0 = 503 }
        var notifier = try Self.notifier(receiver, alertmanager: false)
        try notifier.take(World.batch([(0, try Self.alert(.firing))]))
        for second in Int64(0)..<5 { try notifier.tick(nowMicroseconds: second * 1_000_000) }
        #expect(receiver.messages.withLock { $0.isEmpty })
        receiver.status.withLock { $0 = 200 }
        for second in Int64(5)..<20 { try notifier.tick(nowMicroseconds: second * 1_000_000) }
        #expect(receiver.keys("/hook").count == 1)
        let snapshot = try JSONEncoder().encode(notifier.state)
        var next = try Self.notifier(receiver, alertmanager: false)
        try next.restore(try JSONDecoder().decode(AlertNotifier.State.self, from: snapshot))
        try next.tick(nowMicroseconds: 30_000_000)
        #expect(receiver.keys("/hook").count == 1)
    }

    @Test("An inhibited alert is held back, and what was never told does not end")
    func inhibition() throws {
        let receiver = Receiver()
        var notifier = try Self.notifier(receiver)
        try notifier.take(
            World.batch([(0, try Self.alert(.firing, inhibitedBy: [AlertCatalogue.dataQuality]))]))
        try notifier.tick(nowMicroseconds: 1_000_000)
        #expect(receiver.messages.withLock { $0.isEmpty })
        try notifier.take(World.batch([(0, try Self.alert(.resolved))]))
        try notifier.tick(nowMicroseconds: 2_000_000)
        #expect(receiver.keys("/hook").isEmpty)
    }

    @Test("The webhook's payload has the fields of version 4, the API's those of version 2")
    func payloads() throws {
        let receiver = Receiver()
        var notifier = try Self.notifier(receiver)
        try notifier.take(World.batch([(0, try Self.alert(.firing))], timestamp: 1_700_000_000_000))
        try notifier.tick(nowMicroseconds: 1_700_000_000_000_000)
        for message in receiver.messages.withLock({ $0 }) {
            let json = try JSONSerialization.jsonObject(with: Data(message.body))
            if message.address.path == "/hook" {
                let payload = try #require(json as? [String: Any])
                #expect(payload["version"] as? String == "4" && payload["status"] as? String == "firing")
                #expect(payload["truncatedAlerts"] as? Int == 0)
                for key in ["groupKey", "receiver", "groupLabels", "commonLabels", "commonAnnotations", "externalURL"] {
                    #expect(payload[key] != nil, "\(key)")
                }
                let alert = try #require((payload["alerts"] as? [[String: Any]])?.first)
                #expect(alert["endsAt"] as? String == "0001-01-01T00:00:00Z")
                #expect((alert["fingerprint"] as? String)?.count == 16)
                #expect(((alert["annotations"] as? [String: String])?["runbook_url"])?.hasSuffix(".md") == true)
            } else {
                let alert = try #require((json as? [[String: Any]])?.first)
                let labels = try #require(alert["labels"] as? [String: String])
                #expect(labels["alertname"] == AlertCatalogue.dataDrift && labels["severity"] == "warning")
                #expect((alert["endsAt"] as? String ?? "") > (alert["startsAt"] as? String ?? ""))
            }
        }
    }

    @Test("A URL is read, and what is none is explained")
    func addresses() throws {
        let address = try HTTPAddress("http://[::1]:9093/x?y=1")
        #expect(address.host == "::1" && address.port == 9_093 && address.path == "/x?y=1")
        #expect(try HTTPAddress("http://host").port == 80)
        for (url, words) in [
            ("https://host", "plain HTTP"), ("host:80", "http://"), ("http://u:p@host/", "password"),
            ("http://host:0/", "port"), ("http:///x", "host"),
        ] {
            let fault = #expect(throws: HTTPFault.self) { try HTTPAddress(url) }
            #expect(fault?.message.contains(words) == true, "\(url): \(fault?.message ?? "")")
        }
    }

    @Test("Nobody at the address is a fault, not a crash")
    func nobody() throws {
        let address = try HTTPAddress("http://127.0.0.1:1/")
        let fault = #expect(throws: HTTPFault.self) {
            try HTTPPost.send([], to: address, timeoutMilliseconds: 1_000)
        }
        #expect(fault?.message.contains("127.0.0.1") == true)
    }
}
