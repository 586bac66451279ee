// MonitoringRecordTests: the records of monitoring, alerts and retraining as JSON, there and back.

import EventContracts
import Testing

@Suite("Monitoring records")
struct MonitoringRecordTests {
    private static let time = EventTime(microseconds: 1_600_000_000_123_456)

    private static func report() -> MonitoringReport {
        var report = MonitoringReport(
            pipeline: "housing", kind: .drift, alert: AlertCatalogue.dataDrift, labels: ["model": "dense"],
            level: .firing, watermark: time, summary: "Latitude and \"others\" moved")
        report.value = 1.5e6
        report.threshold = 1e6
        report.changeTime = time.adding(microseconds: -5_000_000)
        report.window = .init(from: time, to: time, records: 7)
        report.features = [
            .init(
                name: "Latitude", logEvidence: 12.5, isAtFault: true,
                metrics: [.init("psi", 0.4, nullQuantile: 0.02, count: 1_000)])
        ]
        report.metrics = [.init("auc", 0.9, lower: 0.85, upper: 0.95, count: 500)]
        return report
    }

    private static func request() -> RetrainingRequest {
        RetrainingRequest(
            id: RetrainingRequest.id(pipeline: "housing", alertID: "00ff-1", attempt: 1), pipeline: "housing",
            reason: "accuracy fell", decidedAt: time,
            trigger: .init(alertID: "00ff-1", alert: "PerformanceLoss", features: ["Latitude"], changeTime: nil),
            model: "dense", modelVersion: "3", labelsMin: 168, labelsAvailable: 200, trainFrom: nil, trainUntil: time,
            attempt: 1)
    }

    @Test("A report survives the way through JSON")
    func reportRoundTrip() throws {
        let event = Self.report().event(program: "drift-monitor", sequence: "window-3")
        let bytes = try event.encoded()
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.contains(#""specversion":"1.0""#))
        #expect(text.contains(#""type":"dev.penstock.monitoring.drift""#))
        #expect(text.contains(#""time":"2020-09-13T12:26:40.123456Z""#))
        let back = try #require(try CloudEvent<MonitoringReport>.decode(bytes, types: MonitoringReport.types))
        #expect(back.data == Self.report())
        #expect(back.id == event.id)
    }

    @Test("A request survives the way through JSON, with its CloudEvent's id")
    func requestRoundTrip() throws {
        let request = Self.request()
        let bytes = try request.event().encoded()
        #expect(try RetrainingRequest.decode(bytes) == request)
        #expect(request.event().id == request.id)
    }

    @Test("Ids are the same for the same thing and differ for another")
    func identities() {
        let report = Self.report()
        let first = report.event(program: "drift-monitor", sequence: "1")
        #expect(first.id == report.event(program: "drift-monitor", sequence: "1").id)
        #expect(first.id != report.event(program: "drift-monitor", sequence: "2").id)
        // Lengths are hashed too, so that shifting a boundary changes the id.
        #expect(RecordIdentity.id(["ab", "c"]) != RecordIdentity.id(["a", "bc"]))
    }

    @Test("A value never changes the fingerprint; a label does")
    func fingerprints() {
        var other = Self.report()
        other.value = 7
        #expect(other.fingerprint == Self.report().fingerprint)
        other.labels["model"] = "other"
        #expect(other.fingerprint != Self.report().fingerprint)
        // As Alertmanager 0.25.0 answered to these labels.
        #expect(
            AlertFingerprint.text([
                "alertname": "DataDrift", "kind": "drift", "pipeline": "housing", "severity": "warning",
            ]) == "f1f55d5a5999c6ee")
        // FNV-1a of nothing is its offset basis.
        #expect(AlertFingerprint.text([:]) == "cbf29ce484222325")
    }

    @Test("Other types are passed over, damaged records explained")
    func otherRecords() throws {
        let bytes = try Self.request().event().encoded()
        #expect(try CloudEvent<MonitoringReport>.decode(bytes, types: MonitoringReport.types) == nil)
        let damaged: [(String, ErrorCode, String)] = [
            ("{", .malformedRecord, ""), (#"{"specversion":"0.3","type":"x"}"#, .unsupportedSpecVersion, "0.3"),
            (#"{"specversion":"1.0"}"#, .malformedRecord, "type"),
            (
                String(decoding: bytes, as: UTF8.self).replacing("2020-09-13T", with: "2020-19-13T"), .malformedRecord,
                "is not a time"
            ),
        ]
        for (text, code, words) in damaged {
            let error = #expect(throws: RecordFormatError.self) { try RetrainingRequest.decode(Array(text.utf8)) }
            #expect(error?.code == code, "\(text)")
            #expect(error?.message.contains(words) == true || words.isEmpty, "\(error?.message ?? "")")
        }
    }

    @Test("Every alert has its own name and page, and is inhibited only by alerts that exist")
    func catalogue() {
        #expect(Set(AlertCatalogue.names).count == AlertCatalogue.all.count)
        #expect(Set(AlertCatalogue.all.map(\.runbook)).count == AlertCatalogue.all.count)
        for alert in AlertCatalogue.all {
            #expect(alert.inhibitors.allSatisfy { AlertCatalogue.definition(of: $0) != nil && $0 != alert.name })
        }
    }
}
