// ModelRegistry: the state of a model's versions, as the replay of `<p>.models` gives it.

public import EventContracts

/// Every version of one model, which one is in production, and which ones were.
///
/// A pure state machine: the same events in the same order give the same state in every process, so that whoever writes
/// an event twice, or two writers at once, change nothing: the first fact counts, a repeat of it is ignored and one that
/// contradicts it is refused. Memory: a few hundred bytes per version; nothing is ever dropped.
public struct ModelRegistry: Sendable, Equatable {
    /// What became of an event.
    public enum Outcome: Sendable, Equatable {
        case applied
        /// The fact is known already.
        case repeated
        /// The event contradicts the state; one sentence says how.
        case refused(String)
    }

    /// A stretch of time in which a version served.
    public struct Service: Sendable, Equatable, Codable {
        public var serial: UInt64
        public var version: String
        /// Wall clock, RFC 3339.
        public var since: String
        /// Nil while it serves.
        public var until: String?
        /// What put it into production: `promoted` or `rolled_back`.
        public var by: ModelEvent.Kind
        public var reason: String
    }

    public let model: String
    /// In the order of their serials.
    public private(set) var versions: [ModelVersion] = []
    /// In the order of time; the last one serves.
    public private(set) var history: [Service] = []
    /// What became of the requests to retrain that have ended: the serial, or nil when there is no candidate.
    public private(set) var endedRequests: [String: UInt64?] = [:]
    private var seen: Set<String> = []

    public init(model: String) {
        self.model = model
    }

    public var production: ModelVersion? { versions.first { $0.status == .production } }

    /// What served before the version in production, as far as it may serve again.
    public var previous: ModelVersion? {
        guard let production else { return nil }
        return history.dropLast().reversed().lazy.filter { $0.serial != production.serial }
            .compactMap { version(serial: $0.serial) }.first { $0.status == .retired }
    }

    /// Serial for the next version.
    public var nextSerial: UInt64 { (versions.last?.serial ?? 0) + 1 }

    public func version(serial: UInt64) -> ModelVersion? { versions.first { $0.serial == serial } }

    /// By serial number, or by version name; nil when there is none.
    public func version(named text: String) -> ModelVersion? {
        versions.first { $0.version == text } ?? UInt64(text).flatMap { version(serial: $0) }
    }

    /// Takes one event in.
    @discardableResult
    public mutating func apply(_ event: ModelEvent) -> Outcome {
        guard event.model == model else {
            return .refused("the event is about the model '\(event.model)', this registry keeps '\(model)'")
        }
        guard !seen.contains(event.id) else { return .repeated }
        if let reason = refusal(of: event) { return .refused(reason) }
        seen.insert(event.id)
        change(by: event)
        return .applied
    }

    /// Whether the event would be taken, without taking it.
    public func refusal(of event: ModelEvent) -> String? {
        switch event.type {
        case .registered: return refusalOfRegistration(event)
        case .retrainingFailed:
            guard let request = event.request, !request.isEmpty else { return "the event names no request" }
            return endedRequests[request] == nil ? nil : "the request \(request) has ended already"
        case .evaluated, .approved, .rejected, .promoted, .rolledBack: break
        }
        guard let version = version(serial: event.serial) else {
            return "there is no version with the serial \(event.serial)"
        }
        guard version.version == event.version else {
            return "serial \(event.serial) is the version \(version.version), not \(event.version)"
        }
        return version.refusal(of: event, production: production)
    }

    private func refusalOfRegistration(_ event: ModelEvent) -> String? {
        guard event.serial == nextSerial else {
            return "the serial \(event.serial) is not the next one, \(nextSerial): another version was registered first"
        }
        if let other = versions.first(where: { $0.version == event.version }) {
            return "the version \(event.version) is registered already, with the serial \(other.serial)"
        }
        if let request = event.request, endedRequests[request] != nil {
            return "the request \(request) has ended already"
        }
        guard event.file != nil, event.contract != nil else { return "a registration needs its file and its contract" }
        if let parent = event.parent {
            guard let found = version(serial: parent.serial), found.file.sha256 == parent.sha256 else {
                return "the parent, serial \(parent.serial), is not registered with that SHA-256"
            }
        }
        return nil
    }

    private mutating func change(by event: ModelEvent) {
        let place = versions.firstIndex { $0.serial == event.serial }
        switch event.type {
        case .registered:
            guard let version = ModelVersion(registering: event) else { return }
            versions.append(version)
            if let request = event.request { endedRequests[request] = .some(event.serial) }
        case .retrainingFailed:
            if let request = event.request { endedRequests[request] = .some(nil) }
        case .evaluated:
            place.map { versions[$0].comparison = event.comparison }
        case .approved: decide(place, .approved, event)
        case .rejected: decide(place, .rejected, event)
        case .promoted, .rolledBack:
            retire(by: event)
            decide(place, .production, event)
            history.append(
                Service(
                    serial: event.serial, version: event.version, since: event.time, by: event.type,
                    reason: event.reason))
        }
    }

    private mutating func decide(_ place: Int?, _ status: ModelVersion.Status, _ event: ModelEvent) {
        guard let place else { return }
        versions[place].status = status
        versions[place].decisions.append(
            .init(type: event.type, time: event.time, actor: event.actor, reason: event.reason))
    }

    private mutating func retire(by event: ModelEvent) {
        guard let place = versions.firstIndex(where: { $0.status == .production }) else { return }
        versions[place].status = event.type == .rolledBack ? .withdrawn : .retired
        history[history.count - 1].until = event.time
    }
}
