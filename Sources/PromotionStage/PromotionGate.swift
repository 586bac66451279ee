// PromotionGate: which facts follow from the state of the registry, from the policy and from people's commands.

public import EventContracts
public import Registry

/// Pure: state in, facts out. The same state gives the same facts with the same ids, so that a gate that is killed between
/// two of them, or two gates at once, decide once.
public struct PromotionGate: Sendable {
    public static let actor = ModelVersion.gateActor

    let policy: GatePolicy
    /// Feature contract of the pipeline, 16 hexadecimal digits.
    let contract: String

    public init(policy: GatePolicy, contract: String) {
        self.policy = policy
        self.contract = contract
    }

    /// The next fact that the policy asks for; nil when there is nothing to decide.
    ///
    /// - Parameters:
    ///   - time: wall clock, RFC 3339.
    ///   - verify: throws when a version's file is not what the registry says.
    public func next(_ registry: ModelRegistry, time: String, verify: (ModelEvent.File) throws -> Void) -> ModelEvent? {
        for version in registry.versions {
            switch version.status {
            case .approved:
                let promotion = fact(.promoted, version, time, reason: "approved: \(lastReason(version))")
                // An approval that came too late, after another promotion, is taken back.
                if let reason = registry.refusal(of: promotion) {
                    return fact(.rejected, version, time, reason: reason, word: "late")
                }
                return promotion
            case .registered:
                if let fact = judge(version, registry, time, verify) { return fact }
            case .rejected, .production, .retired, .withdrawn: continue
            }
        }
        return nil
    }

    private func judge(
        _ version: ModelVersion, _ registry: ModelRegistry, _ time: String, _ verify: (ModelEvent.File) throws -> Void
    ) -> ModelEvent? {
        // The first version of all has nothing to be compared with.
        var checks = policy.checks(version, production: registry.production, contract: contract)
        do {
            try verify(version.file)
            checks.insert(.init(name: "file", passed: true, text: "SHA-256 \(version.file.sha256.prefix(12))…"), at: 0)
        } catch {
            checks.insert(.init(name: "file", passed: false, text: "\(error)"), at: 0)
        }
        let failed = checks.filter { !$0.passed }
        guard failed.isEmpty else {
            return fact(
                .rejected, version, time, reason: failed.map { "\($0.name): \($0.text)" }.joined(separator: "; "))
        }
        guard policy.isAutomatic else { return nil }
        return fact(.approved, version, time, reason: checks.dropFirst().map(\.text).joined(separator: "; "))
    }

    private func lastReason(_ version: ModelVersion) -> String { version.decisions.last?.reason ?? "" }

    private func fact(
        _ type: ModelEvent.Kind, _ version: ModelVersion, _ time: String, reason: String, word: String? = nil
    ) -> ModelEvent {
        ModelEvent(
            type: type, id: ["\(type.rawValue)/\(version.version)", word].compactMap(\.self).joined(separator: "/"),
            model: version.model, version: version.version, serial: version.serial, time: time, actor: Self.actor,
            reason: reason)
    }
}
