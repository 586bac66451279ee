// ModelVersion: one version of a model and what may happen to it.

public import EventContracts
import Foundation

/// A registered version: what it is, and how far it came.
public struct ModelVersion: Sendable, Equatable, Codable {
    public enum Status: String, Sendable, Codable {
        /// Waits for the gate.
        case registered
        case approved
        case rejected
        case production
        /// Was in production and was followed by another; may serve again by a rollback.
        case retired
        /// Was in production and was rolled back.
        case withdrawn
    }

    public struct Decision: Sendable, Equatable, Codable {
        public var type: ModelEvent.Kind
        public var time: String
        public var actor: String
        public var reason: String
    }

    public var model: String
    public var version: String
    public var serial: UInt64
    public var status: Status
    public var file: ModelEvent.File
    public var contract: String
    public var registered: String
    public var parent: ModelEvent.Parent?
    public var request: String?
    public var training: ModelEvent.Training?
    public var comparison: ModelEvent.Comparison?
    public var decisions: [Decision] = []

    /// Nil for an event that is no whole registration.
    init?(registering event: ModelEvent) {
        guard let file = event.file, let contract = event.contract else { return nil }
        model = event.model
        version = event.version
        serial = event.serial
        status = .registered
        self.file = file
        self.contract = contract
        registered = event.time
        parent = event.parent
        request = event.request
        training = event.training
        comparison = event.comparison
    }

    /// Why an event about this version contradicts its state; nil when it fits.
    func refusal(of event: ModelEvent, production: ModelVersion?) -> String? {
        let title = "version \(version) (serial \(serial))"
        switch (event.type, status) {
        case (.evaluated, .registered), (.approved, .registered), (.rejected, .registered), (.rejected, .approved):
            return nil
        case (.approved, .rejected):
            // Only a person may overrule the gate.
            return event.signature != nil ? nil : "\(title) was rejected: only a signed approval overrules that"
        case (.promoted, .approved): return refusalOfPromotion(title, production)
        case (.promoted, .registered):
            return production == nil ? nil : "\(title) is not approved"
        case (.promoted, .production), (.promoted, .retired), (.promoted, .withdrawn):
            return "\(title) was promoted already: nothing is promoted twice, a version serves again by a rollback"
        case (.rolledBack, .retired), (.rolledBack, .withdrawn): return nil
        case (.rolledBack, .production): return "\(title) is in production"
        default: return "\(title) is \(status.rawValue) and cannot be \(event.type.rawValue)"
        }
    }

    /// What was compared with another version than the one that serves now was not compared at all.
    private func refusalOfPromotion(_ title: String, _ production: ModelVersion?) -> String? {
        guard let production, let comparison, comparison.productionVersion != production.version,
            decisions.last(where: { $0.type == .approved })?.actor == ModelVersion.gateActor
        else { return nil }
        return "\(title) was compared with \(comparison.productionVersion), but \(production.version) is in production"
    }

    /// Actor of what the promotion gate decides by policy.
    public static let gateActor = "promotion-gate"

    /// The record of `models-current`: one JSON object with sorted keys.
    public func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
