// GateTests: what the promotion gate decides on every state, and whose signature counts.

import Cryptography
import EventContracts
import Foundation
import PromotionStage
import Registry
import Testing

@Suite("The promotion gate")
struct GateTests {
    private static let contract = "0123456789abcdef"
    private static let time = "2021-06-01T00:00:00.000000Z"

    private struct Missing: Error, CustomStringConvertible { let description = "the file is gone" }

    private func registered(_ serial: UInt64, gain: Double? = nil, against production: String = "v1") -> ModelEvent {
        let side = ModelEvent.Comparison.Side(rocAUC: 0.9, logLoss: 0.4, accuracy: 0.8)
        return ModelEvent(
            type: .registered, id: "registered/\(serial)", model: "m", version: "v\(serial)", serial: serial,
            time: Self.time, actor: "retraining-consumer", reason: "drift",
            file: .init(
                location: "/m/\(serial)", sha256: String(repeating: "\(serial)", count: 64), bytes: 1, isSealed: true),
            contract: Self.contract,
            comparison: gain.map { gain in
                ModelEvent.Comparison(
                    rows: 100, from: Self.time, to: Self.time, productionVersion: production, candidate: side,
                    production: side, confidence: 0.9, rocAUC: .init(estimate: gain, lower: gain, upper: gain),
                    logLoss: .init(estimate: gain, lower: gain - 0.01, upper: gain + 0.01), candidateMicroseconds: 100,
                    productionMicroseconds: 100, latencyRows: 256)
            })
    }

    private func fact(_ type: ModelEvent.Kind, _ serial: UInt64, actor: String = "promotion-gate") -> ModelEvent {
        ModelEvent(
            type: type, id: "\(type.rawValue)/\(serial)/test", model: "m", version: "v\(serial)", serial: serial,
            time: Self.time, actor: actor, reason: "because",
            signature: actor == "ann" ? .init(keyID: "", value: "") : nil)
    }

    /// Lets the gate decide until it has nothing more to say, as its process does.
    private func settle(
        _ events: [ModelEvent], automatic: Bool = true, verify: (ModelEvent.File) throws -> Void = { _ in }
    ) -> (registry: ModelRegistry, facts: [ModelEvent]) {
        var policy = GatePolicy()
        policy.isAutomatic = automatic
        let gate = PromotionGate(policy: policy, contract: Self.contract)
        var registry = ModelRegistry(model: "m")
        for event in events { registry.apply(event) }
        var facts: [ModelEvent] = []
        while facts.count < 20, let fact = gate.next(registry, time: Self.time, verify: verify) {
            #expect(registry.apply(fact) == .applied, "\(fact)")
            facts.append(fact)
        }
        return (registry, facts)
    }

    @Test("The first version is approved and promoted; a better candidate follows it")
    func promotes() {
        let (registry, facts) = settle([registered(1), registered(2, gain: 0.1)])
        #expect(
            facts.map { "\($0.type.rawValue) \($0.serial)" } == [
                "approved 1", "promoted 1", "approved 2", "promoted 2",
            ])
        #expect(registry.production?.version == "v2")
        #expect(facts[2].reason.contains("log-loss better by 0.1000"))
    }

    @Test("A worse candidate is rejected with the figures, and the one before serves on")
    func rejects() {
        let (registry, facts) = settle([registered(1), registered(2, gain: -0.1)])
        #expect(registry.production?.version == "v1" && registry.version(serial: 2)?.status == .rejected)
        #expect(facts.last?.reason.contains("log-loss better by -0.1000") == true)
        #expect(facts.last?.reason.contains("AUC better by -0.1000") == true)
    }

    @Test(
        "Of two candidates against one production the first is promoted, the other was compared with the wrong version")
    func staleCandidate() {
        let (registry, facts) = settle([registered(1), registered(2, gain: 0.1), registered(3, gain: 0.2)])
        #expect(registry.production?.version == "v2" && registry.version(serial: 3)?.status == .rejected)
        #expect(facts.last?.reason == "opponent: compared with v1, v2 is in production")
    }

    @Test("A file that is not what the registry says is not promoted")
    func damagedFile() {
        let (registry, facts) = settle([registered(1), registered(2, gain: 0.1)]) { file in
            if file.location == "/m/2" { throw Missing() }
        }
        #expect(registry.production?.version == "v1")
        #expect(facts.last?.reason == "file: the file is gone")
    }

    @Test("By hand, a candidate waits; a person's approval also overrules a rejection")
    func manual() {
        let events = [registered(1), fact(.promoted, 1), registered(2, gain: 0.1)]
        #expect(settle(events, automatic: false).registry.production?.version == "v1")
        let approved = settle(events + [fact(.approved, 2, actor: "ann")], automatic: false)
        #expect(approved.registry.production?.version == "v2")
        let overruled = settle(
            [
                registered(1), fact(.promoted, 1), registered(2, gain: -0.1), fact(.rejected, 2),
                fact(.approved, 2, actor: "ann"),
            ])
        #expect(overruled.registry.production?.version == "v2")
    }

    @Test("Killed after any fact, the gate decides the same facts with the same ids")
    func restarts() {
        let events = [registered(1), registered(2, gain: 0.1), registered(3, gain: -0.2)]
        let whole = settle(events).facts
        for cut in 0...whole.count {
            let rest = settle(events + whole.prefix(cut)).facts
            #expect(rest.map(\.id) == whole.dropFirst(cut).map(\.id))
        }
        #expect(Set(whole.map(\.id)).count == whole.count)
    }
}

@Suite("Signed decisions")
struct ApproverKeysTests {
    private func decision() -> ModelEvent {
        ModelEvent(
            type: .approved, id: "approved/1", model: "m", version: "v2", serial: 2, time: "2021-06-01T00:00:00Z",
            actor: "ann", reason: "checked")
    }

    private func keys(_ keys: [ECPrivateKey]) throws -> ApproverKeys {
        let folder = FileManager.default.temporaryDirectory.appending(path: "approvers-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var paths: [String] = []
        for (index, key) in keys.enumerated() {
            let path = folder.appending(path: "\(index).pem").path
            try Data(key.publicKey.pem().utf8).write(to: URL(filePath: path))
            paths.append(path)
        }
        return try ApproverKeys(paths: paths)
    }

    @Test("A decision counts when an approver's key has signed exactly this")
    func counts() throws {
        let (own, other) = (try ECPrivateKey(generating: .p384), try ECPrivateKey(generating: .p384))
        let approvers = try keys([own])
        let signed = try ApproverKeys.sign(decision(), with: own)
        try approvers.verify(signed)
        #expect(throws: DecisionError.self) { try approvers.verify(decision()) }
        #expect(throws: DecisionError.self) { try approvers.verify(ApproverKeys.sign(decision(), with: other)) }
        for change in [{ $0.serial = 3 }, { $0.reason = "" }, { $0.type = .rejected }] as [(inout ModelEvent) -> Void] {
            var changed = signed
            change(&changed)
            #expect(throws: DecisionError.self) { try approvers.verify(changed) }
        }
        // A signed decision travels through its CloudEvent unchanged.
        #expect(try ModelControl.decode(ModelControl.encoded(signed, pipeline: "p")) == signed)
    }

    @Test("Without approvers no decision counts, and a file that is no key is named")
    func noKeys() throws {
        let signed = try ApproverKeys.sign(decision(), with: ECPrivateKey(generating: .p384))
        #expect(throws: DecisionError.self) { try ApproverKeys(paths: []).verify(signed) }
        #expect(throws: DecisionError.self) { try ApproverKeys(paths: ["/nowhere/key.pem"]) }
    }
}
