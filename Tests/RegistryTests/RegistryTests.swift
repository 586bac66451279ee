// RegistryTests: the state of the model registry under every event, in order, repeated and contradicting.

import EventContracts
import Registry
import Testing

/// Events of a model `m`; the fact's id is its type, serial and, where it matters, a word.
enum Facts {
    static let contract = "0123456789abcdef"

    static func sha(_ serial: UInt64) -> String { String(repeating: String(serial % 10), count: 64) }

    static func registered(
        _ serial: UInt64, parent: UInt64? = nil, request: String? = nil, comparison: ModelEvent.Comparison? = nil
    ) -> ModelEvent {
        ModelEvent(
            type: .registered, id: "registered/\(request ?? "\(serial)")", model: "m", version: "v\(serial)",
            serial: serial, time: time(serial), actor: "retraining-consumer", reason: "drift", request: request,
            file: .init(location: "m-\(serial).smc", sha256: sha(serial), bytes: 1, isSealed: true),
            parent: parent.map { .init(version: "v\($0)", serial: $0, sha256: sha($0)) }, contract: contract,
            comparison: comparison)
    }

    static func fact(
        _ type: ModelEvent.Kind, _ serial: UInt64, id: String? = nil, actor: String = ModelVersion.gateActor,
        isSigned: Bool = false
    ) -> ModelEvent {
        ModelEvent(
            type: type, id: id ?? "\(type.rawValue)/\(serial)", model: "m", version: "v\(serial)", serial: serial,
            time: time(serial), actor: actor, reason: "because",
            signature: isSigned ? .init(keyID: "k", value: "AA==") : nil)
    }

    static func failed(_ request: String) -> ModelEvent {
        ModelEvent(
            type: .retrainingFailed, id: "retraining_failed/\(request)", model: "m", version: "", serial: 0,
            time: time(0), actor: "retraining-consumer", reason: "too few labels", request: request)
    }

    static func time(_ serial: UInt64) -> String { "2021-06-0\(serial + 1)T00:00:00.000000Z" }

    static func comparison(
        with production: String = "v1", logLoss: (Double, Double) = (0.1, 0.05), auc: Double? = 0.06, rows: Int = 100,
        microseconds: (Double, Double) = (100, 100)
    ) -> ModelEvent.Comparison {
        let side = ModelEvent.Comparison.Side(rocAUC: 0.9, logLoss: 0.4, accuracy: 0.8)
        return ModelEvent.Comparison(
            rows: rows, from: time(0), to: time(1), productionVersion: production, candidate: side, production: side,
            confidence: 0.95, rocAUC: auc.map { .init(estimate: $0, lower: $0 - 0.02, upper: $0 + 0.02) },
            logLoss: .init(estimate: logLoss.0, lower: logLoss.1, upper: 2 * logLoss.0 - logLoss.1),
            candidateMicroseconds: microseconds.0, productionMicroseconds: microseconds.1, latencyRows: 256)
    }

    static func registry(_ events: [ModelEvent]) -> ModelRegistry {
        var registry = ModelRegistry(model: "m")
        for event in events { registry.apply(event) }
        return registry
    }

    /// v1 serves, v2 is a candidate made from it.
    static let candidate = [
        registered(1), fact(.promoted, 1), registered(2, parent: 1, request: "r-1", comparison: comparison()),
    ]
}

/// A linear congruential generator (Knuth's MMIX): the same order in every run.
struct Sequence: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 33
    }
}

@Suite("The model registry")
struct RegistryTests {
    @Test("The first version serves when it is promoted; a candidate serves after approval and promotion")
    func life() {
        var registry = Facts.registry(Facts.candidate)
        #expect(registry.production?.version == "v1")
        #expect(registry.apply(Facts.fact(.approved, 2)) == .applied)
        #expect(registry.production?.version == "v1")
        #expect(registry.apply(Facts.fact(.promoted, 2)) == .applied)
        #expect(registry.production?.version == "v2" && registry.previous?.version == "v1")
        #expect(registry.version(named: "v1")?.status == .retired)
        #expect(registry.history.map(\.version) == ["v1", "v2"])
        #expect(registry.history[0].until == registry.history[1].since && registry.history[1].until == nil)
        #expect(registry.version(named: "2")?.decisions.map(\.type) == [.approved, .promoted])
    }

    @Test("A fact that is written again changes nothing, wherever it comes again")
    func repeats() {
        let events = Facts.candidate + [Facts.fact(.approved, 2), Facts.fact(.promoted, 2)]
        let once = Facts.registry(events)
        for place in events.indices {
            for later in place..<events.count {
                var doubled = events
                doubled.insert(events[place], at: later + 1)
                #expect(Facts.registry(doubled) == once)
            }
        }
        var registry = once
        #expect(registry.apply(events[4]) == .repeated)
    }

    @Test("Nothing is promoted twice, and nothing without approval")
    func promotions() {
        var registry = Facts.registry(Facts.candidate)
        #expect(registry.apply(Facts.fact(.promoted, 2)) == .refused("version v2 (serial 2) is not approved"))
        registry.apply(Facts.fact(.approved, 2))
        registry.apply(Facts.fact(.promoted, 2))
        for serial in [UInt64(1), 2] {
            guard case .refused(let reason) = registry.apply(Facts.fact(.promoted, serial, id: "again")) else {
                Issue.record("serial \(serial) was promoted twice")
                continue
            }
            #expect(reason.contains("promoted already"))
        }
        #expect(registry.history.count == 2)
    }

    @Test("A rollback puts the version before into production; the one that was rolled back is not promoted again")
    func rollback() {
        var registry = Facts.registry(Facts.candidate + [Facts.fact(.approved, 2), Facts.fact(.promoted, 2)])
        #expect(registry.apply(Facts.fact(.rolledBack, 1, isSigned: true)) == .applied)
        #expect(registry.production?.version == "v1" && registry.version(serial: 2)?.status == .withdrawn)
        #expect(registry.previous == nil)
        guard case .refused = registry.apply(Facts.fact(.promoted, 2, id: "again")) else {
            Issue.record("a withdrawn version was promoted")
            return
        }
        #expect(registry.apply(Facts.fact(.rolledBack, 2, id: "back")) == .applied)
        #expect(registry.history.map(\.serial) == [1, 2, 1, 2])
    }

    @Test("Only a signed approval overrules the gate's rejection")
    func overruling() {
        var registry = Facts.registry(Facts.candidate + [Facts.fact(.rejected, 2)])
        #expect(registry.apply(Facts.fact(.approved, 2)) != .applied)
        #expect(registry.apply(Facts.fact(.approved, 2, actor: "ann", isSigned: true)) == .applied)
        #expect(registry.apply(Facts.fact(.promoted, 2)) == .applied)
    }

    @Test("A candidate that was compared with a version that serves no more is not promoted by the gate")
    func staleComparison() {
        var registry = Facts.registry(
            Facts.candidate + [
                Facts.registered(3, parent: 1, request: "r-2", comparison: Facts.comparison()),
                Facts.fact(.approved, 2), Facts.fact(.promoted, 2), Facts.fact(.approved, 3),
            ])
        #expect(
            registry.apply(Facts.fact(.promoted, 3))
                == .refused("version v3 (serial 3) was compared with v1, but v2 is in production"))
    }

    @Test("Serials, versions and requests are unique, parents must be registered")
    func registrations() {
        var registry = Facts.registry(Facts.candidate)
        let gap = registry.apply(Facts.registered(4))
        #expect(gap == .refused("the serial 4 is not the next one, 3: another version was registered first"))
        #expect(registry.apply(Facts.registered(3, parent: 2, request: "r-1")) == .repeated)
        var other = Facts.registered(3, request: "r-1")
        other.id = "registered/other"
        #expect(registry.apply(other) == .refused("the request r-1 has ended already"))
        var foreign = Facts.registered(3, parent: 1)
        foreign.parent?.sha256 = Facts.sha(9)
        #expect(registry.apply(foreign) != .applied)
        var sameVersion = Facts.registered(3)
        sameVersion.version = "v2"
        #expect(registry.apply(sameVersion) != .applied)
        #expect(registry.apply(Facts.registered(3, parent: 2)) == .applied && registry.nextSerial == 4)
    }

    @Test("A request ends once, with a candidate or without one")
    func requests() {
        var registry = Facts.registry(Facts.candidate + [Facts.failed("r-2")])
        #expect(registry.endedRequests == ["r-1": 2, "r-2": nil])
        var again = Facts.failed("r-1")
        again.id = "other"
        #expect(registry.apply(again) == .refused("the request r-1 has ended already"))
        #expect(registry.apply(Facts.registered(3, request: "r-2")) != .applied)
    }

    @Test("Whatever comes in whatever order, one version serves at most and its history never overlaps")
    func anyOrder() {
        var random = Sequence(state: 1)
        for _ in 0..<300 {
            var registry = ModelRegistry(model: "m")
            for step in 0..<40 {
                let serial = UInt64.random(in: 1...4, using: &random)
                let type = ModelEvent.Kind.allCases.randomElement(using: &random) ?? .promoted
                let event =
                    type == .registered
                    ? Facts.registered(serial)
                    : Facts.fact(type, serial, id: "\(step)", isSigned: Bool.random(using: &random))
                registry.apply(event)
                #expect(registry.versions.count { $0.status == .production } <= 1)
                #expect(registry.history.dropLast().allSatisfy { $0.until != nil })
                #expect(registry.history.last?.serial == registry.production?.serial)
            }
            for serial in UInt64(1)...4 {
                #expect(registry.history.count { $0.serial == serial && $0.by == .promoted } <= 1)
            }
        }
    }
}

@Suite("The promotion gate's policy")
struct GatePolicyTests {
    private func failed(_ comparison: ModelEvent.Comparison?, contract: String = Facts.contract) -> [String] {
        var events = Facts.candidate
        events[2].comparison = comparison
        let registry = Facts.registry(events)
        guard let candidate = registry.version(serial: 2) else { return ["none"] }
        return GatePolicy().checks(candidate, production: registry.production, contract: contract)
            .filter { !$0.passed }.map(\.name)
    }

    @Test("A better candidate passes every check")
    func passes() { #expect(failed(Facts.comparison()).isEmpty) }

    @Test("What is missing, worse or slower is named")
    func refusals() {
        #expect(failed(nil) == ["comparison"])
        #expect(failed(Facts.comparison(), contract: "f") == ["contract"])
        #expect(failed(Facts.comparison(with: "v0")) == ["opponent"])
        #expect(failed(Facts.comparison(rows: 10)) == ["rows"])
        #expect(failed(Facts.comparison(logLoss: (0.1, -0.01))) == ["log_loss"])
        #expect(failed(Facts.comparison(logLoss: (-0.2, -0.3), auc: -0.2)) == ["log_loss", "roc_auc"])
        #expect(failed(Facts.comparison(auc: nil)) == ["roc_auc"])
        #expect(failed(Facts.comparison(microseconds: (900, 300))) == ["latency"])
        #expect(failed(Facts.comparison(microseconds: (400, 100))).isEmpty)
    }
}
