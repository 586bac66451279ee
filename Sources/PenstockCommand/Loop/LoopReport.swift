// LoopReport: everything that the demonstration of the loop found out, and the checks on it.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import Registry
import Transforms

struct LoopReport: Encodable, Sendable {
    struct Version: Encodable, Sendable {
        var version: String
        var serial: UInt64
        var status: String
        /// Rows that it has scored.
        var rows: Int
    }

    var stream: StreamKind
    var seed: UInt64
    var events: Int
    var rows: Int
    var deadLetters: Int
    var publishSeconds: Double
    /// Version of the base model that was trained again for the comparison.
    var frozenVersion: String
    /// Event time of the first event of the new regime.
    var change: String?
    var moments: [LoopMoment]
    var versions: [Version]
    /// Seconds of wall time from each request to the promotion of its candidate.
    var secondsToPromotion: [Double]
    /// Whole stream; before the first promoted candidate; after it.
    var whole: WindowQuality?
    var before: WindowQuality?
    var after: WindowQuality?
    var windows: [WindowQuality]
    var months: [WindowQuality]
    var checks: [DemoCheck]
}

extension StreamKind: Encodable {}

extension LoopRun {
    /// Events of one window of the chart.
    static let windowEvents = 294

    private struct Rows {
        var scores: [Double]
        var versions: [String]
        /// Events that have no row.
        var missing: Int
    }

    func makeReport(
        _ stream: HousingStream, _ contract: Pipeline, _ connection: PostgresConnection, _ timeline: LoopTimeline,
        servers: String, seconds: Double
    ) throws -> LoopReport {
        let rows = try read(stream, contract, connection)
        let transform = try FeatureTransform(
            loadingFor: contract, path: Artifacts(pipeline: contract, override: data.artifacts).transform)
        let features = try LoopEvaluation.rows(stream, contract: contract, transform: transform, folder: data.artifacts)
        let change = stream.change
        let regimes = change.map { [0..<$0, $0..<stream.live.count] } ?? [0..<stream.live.count]
        step("Judging: the frozen base model and the best in hindsight score the same events")
        let frozen = try LoopEvaluation.frozen(features, contract: contract, transform: transform, reference: reference)
        let scores = LoopScores(
            times: stream.live.map(\.time), labels: stream.live.map(\.label), live: rows.scores,
            frozen: frozen.scores,
            hindsight: try LoopEvaluation.hindsightScores(features, regimes: regimes, seed: seed))
        let registry = timeline.registry
        let first = rows.versions.firstIndex { $0 != registry.versions.first?.version && !$0.isEmpty }
        var report = LoopReport(
            stream: kind, seed: seed, events: stream.live.count, rows: stream.live.count - rows.missing,
            deadLetters: try deadLetters(contract, servers), publishSeconds: seconds, frozenVersion: frozen.version,
            change: change.map { RFC3339.text(stream.live[$0].time) }, moments: timeline.moments,
            versions: registry.versions.map { version in
                .init(
                    version: version.version, serial: version.serial, status: version.status.rawValue,
                    rows: rows.versions.count { $0 == version.version })
            }, secondsToPromotion: Self.secondsToPromotion(timeline.moments),
            whole: scores.quality(of: Array(0..<stream.live.count)),
            before: scores.quality(of: Array(0..<(change ?? first ?? stream.live.count))),
            after: first.flatMap { scores.quality(of: Array($0..<stream.live.count)) },
            windows: scores.windows(of: Self.windowEvents), months: scores.months(), checks: [])
        report.checks = LoopChecks(report: report, registry: registry).all
        return report
    }

    private func read(_ stream: HousingStream, _ contract: Pipeline, _ connection: PostgresConnection) throws -> Rows {
        let places = Dictionary(
            stream.live.indices.map { (stream.live[$0].id, $0) }, uniquingKeysWith: { first, _ in first })
        var rows = Rows(
            scores: [Double](repeating: 0.5, count: stream.live.count),
            versions: [String](repeating: "", count: stream.live.count), missing: stream.live.count)
        let result = try connection.query(
            "SELECT coalesce(id, ''), score, model_version FROM \(PostgresConnection.table(contract.sink))")
        for row in 0..<result.rowCount {
            guard let place = places[try result.value(String.self, row: row, column: 0)] else { continue }
            if rows.versions[place].isEmpty { rows.missing -= 1 }
            rows.scores[place] = try result.value(row: row, column: 1)
            rows.versions[place] = try result.value(row: row, column: 2)
        }
        return rows
    }

    private func deadLetters(_ contract: Pipeline, _ servers: String) throws -> Int {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "penstock-demo", clientID: "penstock-demo")
        try configuration.set("statistics.interval.ms", "0")
        return try TopicReader(configuration: configuration).count(
            contract.topics.withDeadLetters.map(PipelineTopics.deadLetters(of:)))
    }

    private static func secondsToPromotion(_ moments: [LoopMoment]) -> [Double] {
        moments.filter { $0.kind == .promoted }.compactMap { promoted in
            guard
                let registered = moments.first(where: { $0.kind == .registered && $0.version == promoted.version }),
                let request = moments.first(where: { $0.kind == .request && $0.request == registered.request })
            else { return nil }
            return promoted.wallSeconds - request.wallSeconds
        }
    }
}

/// What must hold at the end, by kind of stream.
struct LoopChecks {
    static let baseAUCMin = 0.93
    static let gainMin = 0.05
    static let hindsightGapMax = 0.02
    static let monthLossMax = 0.03
    static let promotionSecondsMax = 10.0

    let report: LoopReport
    let registry: ModelRegistry

    var all: [DemoCheck] {
        var checks = [
            check(
                "every event has one row, none is lost", report.rows == report.events && report.deadLetters == 0,
                "\(Numbers.grouped(report.rows)) of \(Numbers.grouped(report.events)), \(report.deadLetters) dead letters"
            ),
            check(
                "the frozen base that is compared is the registered base",
                report.frozenVersion == registry.versions.first?.version,
                report.frozenVersion), promotedOnce,
        ]
        switch report.stream {
        case .expansion: checks += expansion
        case .original: checks += original
        case .control: checks += control
        }
        return checks
    }

    private func check(_ name: String, _ isMet: Bool, _ detail: String) -> DemoCheck {
        DemoCheck(name: name, isMet: isMet, detail: detail)
    }

    private var promotedOnce: DemoCheck {
        let promotions = report.moments.filter { $0.kind == .promoted }.compactMap(\.version)
        let unknown = report.versions.filter { $0.rows > 0 }.map(\.version).filter { !promotions.contains($0) }
        return check(
            "nothing is promoted twice, and only what was promoted has scored",
            Set(promotions).count == promotions.count && unknown.isEmpty
                && report.versions.reduce(0) { $0 + $1.rows } == report.rows,
            report.versions.map { "\($0.version) \($0.status), \(Numbers.grouped($0.rows)) rows" }.joined(
                separator: "; "))
    }

    private var expansion: [DemoCheck] {
        let before = report.before?.live.auc ?? 0
        var checks = [
            check(
                "base AUC before the change is at least \(Numbers.decimal(Self.baseAUCMin, 2))",
                before >= Self.baseAUCMin, Numbers.decimal(before, 4))
        ]
        let alerts = report.moments.filter { $0.kind == .alert && $0.title.hasSuffix("firing") }
        let early = alerts.filter { ($0.eventTime ?? "") < (report.change ?? "") }
        checks.append(
            check(
                "an alert fires after the change and none before it", !alerts.isEmpty && early.isEmpty,
                "\(alerts.count) firing, \(early.count) of them before \(report.change ?? "-")"))
        guard let after = report.after, let live = after.live.auc, let frozen = after.frozen.auc,
            let hindsight = after.hindsight.auc
        else { return checks + [check("a retrained model took over", false, "none was promoted")] }
        let slowest = report.secondsToPromotion.max() ?? .infinity
        return checks + [
            check(
                "from the request to the promotion it takes at most \(Int(Self.promotionSecondsMax)) s of wall time",
                slowest <= Self.promotionSecondsMax,
                report.secondsToPromotion.map { "\(Numbers.decimal($0, 1)) s" }.joined(separator: ", ")),
            check(
                "the reaction gains at least \(Numbers.decimal(Self.gainMin, 2)) of AUC over the frozen base",
                live - frozen >= Self.gainMin,
                "\(Numbers.decimal(live, 4)) against \(Numbers.decimal(frozen, 4)) over \(after.rows) events"),
            check(
                "and is within \(Numbers.decimal(Self.hindsightGapMax, 2)) of the best in hindsight",
                hindsight - live <= Self.hindsightGapMax,
                "\(Numbers.decimal(live, 4)) against \(Numbers.decimal(hindsight, 4))"),
        ]
    }

    private var original: [DemoCheck] {
        let (live, frozen) = (report.whole?.live.logLoss ?? .infinity, report.whole?.frozen.logLoss ?? 0)
        let worst = report.months.compactMap { month in
            month.live.auc.flatMap { live in month.frozen.auc.map { (month.from, $0 - live) } }
        }.max { $0.1 < $1.1 }
        return [
            check(
                "the log-loss over the year is below the frozen base's", live < frozen,
                "\(Numbers.decimal(live, 4)) against \(Numbers.decimal(frozen, 4))"),
            check(
                "no month's AUC is more than \(Numbers.decimal(Self.monthLossMax, 2)) below the frozen base's",
                (worst?.1 ?? 0) <= Self.monthLossMax,
                worst.map { "worst \($0.0.prefix(7)): \(Numbers.decimal($0.1, 4)) below" } ?? "-"),
        ]
    }

    private var control: [DemoCheck] {
        let drift = report.moments.filter { $0.kind == .alert && $0.title.lowercased().contains("drift") }
        let requests = report.moments.filter { $0.kind == .request }
        return [
            check("no drift alert", drift.isEmpty, drift.map(\.title).joined(separator: ", ")),
            check("no retraining", requests.isEmpty, "\(requests.count) requests"),
        ]
    }
}
