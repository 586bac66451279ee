// AlertNotifier: alerts in; webhooks and Alertmanager told, again and again until they have heard.

public import Alerting
public import EventContracts
public import MonitorRuntime

/// Sends a body somewhere; the status code, or why there is none. Tests bring their own.
public typealias AlertTransport = (_ body: [UInt8], _ address: HTTPAddress, _ headers: [(name: String, value: String)])
    -> Result<Int, HTTPFault>

/// The logic of `alert-notifier`. A webhook hears of the beginning and of the end of each episode; Alertmanager hears of
/// a firing alert every minute and of a resolved one for five. A process that is killed between a message and its
/// snapshot sends the message again, with the same `Idempotency-Key`.
public struct AlertNotifier: MonitorLogic {
    public static let program = "alert-notifier"
    public static func inputTopics(_ topics: PipelineTopics) -> [String] { [topics.alerts] }

    static let refreshMicroseconds: Int64 = 60_000_000
    /// Alertmanager resolves an alert by itself that it has not heard of for so long.
    static let lifetimeMicroseconds: Int64 = 300_000_000
    static let retryMicrosecondsMin: Int64 = 1_000_000
    static let retryMicrosecondsMax: Int64 = 120_000_000

    private let receivers: [(name: String, address: HTTPAddress)]
    private let alertmanager: HTTPAddress?
    private let transport: AlertTransport
    /// Told of each attempt: receiver, alert, and the failure or nil.
    private let observer: @Sendable (String, AlertRecord, String?) -> Void
    private var memory = Memory()
    private var now: Int64 = 0

    public struct Memory: Codable {
        var alerts: [String: Entry] = [:]
    }

    struct Entry: Codable {
        var record: AlertRecord
        /// Wall clock.
        var startsAt: Int64
        var endsAt: Int64?
        /// By receiver: what it heard last, `<episode>-firing` or `<episode>-resolved`.
        var heard: [String: String] = [:]
        var alertmanagerHeardAt: Int64?
        /// By receiver.
        var retryAt: [String: Int64] = [:]
        var failures: [String: Int] = [:]
    }

    public init(
        webhooks: [HTTPAddress], alertmanager: HTTPAddress?, transport: @escaping AlertTransport,
        observer: @escaping @Sendable (String, AlertRecord, String?) -> Void
    ) {
        receivers = webhooks.map { ($0.description, $0) }
        self.alertmanager = alertmanager
        self.transport = transport
        self.observer = observer
    }

    public var state: Memory { memory }
    public mutating func restore(_ state: Memory) throws { memory = state }
    public mutating func takeOutputs() -> [MonitorOutput] { [] }

    public mutating func take(_ batch: RecordBatch) throws {
        for index in 0..<batch.count {
            guard let value = batch.bytes(batch.values[index]),
                let event = try? CloudEvent<AlertRecord>.decode(value, types: [AlertRecord.type])
            else { continue }
            take(event.data, at: batch.timestampsMilliseconds[index] * 1_000)
        }
    }

    private mutating func take(_ record: AlertRecord, at time: Int64) {
        let known = memory.alerts[record.fingerprint]
        switch record.state {
        case .suspect: return
        case .firing, .recovering:
            var entry = known?.record.episode == record.episode ? known : nil
            if entry == nil { entry = Entry(record: record, startsAt: time, heard: known?.heard ?? [:]) }
            entry?.record = record
            memory.alerts[record.fingerprint] = entry
        case .resolved:
            // Nobody needs to hear of the end of what was never told.
            guard var entry = known, entry.record.episode == record.episode else { return }
            entry.record = record
            entry.endsAt = time
            entry.alertmanagerHeardAt = nil
            memory.alerts[record.fingerprint] = entry
        }
    }

    public mutating func tick(nowMicroseconds: Int64) throws {
        now = nowMicroseconds
        for (fingerprint, entry) in memory.alerts.sorted(by: { $0.key < $1.key }) {
            var entry = entry
            let isResolved = entry.record.state == .resolved
            let isHeldBack =
                !isResolved
                && (!entry.record.inhibitedBy.isEmpty || (entry.record.silencedUntil?.microseconds ?? .min) > now)
            if !isHeldBack {
                for receiver in receivers { try tell(receiver.name, receiver.address, &entry) }
                if let alertmanager { try tellAlertmanager(alertmanager, &entry) }
            }
            memory.alerts[fingerprint] = entry
            // Alertmanager wants to hear of the end for a while; then there is nothing left to do.
            if isResolved, let end = entry.endsAt, now - end > Self.lifetimeMicroseconds {
                memory.alerts[fingerprint] = nil
            }
        }
    }

    private func notified(_ entry: Entry) -> NotifiedAlert {
        NotifiedAlert(
            entry.record, startsAt: EventTime(microseconds: entry.startsAt),
            endsAt: entry.endsAt.map { EventTime(microseconds: $0) })
    }

    private mutating func tell(_ name: String, _ address: HTTPAddress, _ entry: inout Entry) throws {
        let isResolved = entry.record.state == .resolved
        let firing = "\(entry.record.episode)-firing"
        let word = isResolved ? "\(entry.record.episode)-resolved" : firing
        guard entry.heard[name] != word, now >= entry.retryAt[name] ?? .min else { return }
        if isResolved, entry.heard[name] != firing {
            // It was held back, or came and went before the first attempt.
            entry.heard[name] = word
            return
        }
        let body = try AlertPayload.webhook(notified(entry), receiver: "webhook")
        let key = "\(entry.record.id)-\(isResolved ? "resolved" : "firing")"
        if send(body, name, address, [("Idempotency-Key", key)], &entry) { entry.heard[name] = word }
    }

    private mutating func tellAlertmanager(_ address: HTTPAddress, _ entry: inout Entry) throws {
        let name = "alertmanager"
        let isDue = entry.alertmanagerHeardAt.map { now - $0 >= Self.refreshMicroseconds } ?? true
        guard isDue, now >= entry.retryAt[name] ?? .min else { return }
        let body = try AlertPayload.alertmanager(
            [notified(entry)], until: EventTime(microseconds: now + Self.lifetimeMicroseconds))
        if send(body, name, address, [], &entry) { entry.alertmanagerHeardAt = now }
    }

    /// True when the receiver took it. A failure is tried again, each time later.
    private func send(
        _ body: [UInt8], _ name: String, _ address: HTTPAddress, _ headers: [(name: String, value: String)],
        _ entry: inout Entry
    ) -> Bool {
        let failure: String?
        switch transport(body, address, headers) {
        case .success(200..<300): failure = nil
        case .success(let status): failure = "status \(status)"
        case .failure(let fault): failure = fault.message
        }
        observer(name, entry.record, failure)
        guard failure != nil else {
            entry.failures[name] = nil
            entry.retryAt[name] = nil
            return true
        }
        let failures = (entry.failures[name] ?? 0) + 1
        entry.failures[name] = failures
        let wait = Self.retryMicrosecondsMin << Int64(min(failures - 1, 20))
        entry.retryAt[name] = now + min(wait, Self.retryMicrosecondsMax)
        return false
    }
}
