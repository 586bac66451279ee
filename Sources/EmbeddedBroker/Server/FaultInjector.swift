// FaultInjector: makes requests go wrong on purpose, for tests; off unless somebody asks for it.

import Synchronization

/// What happens to a request instead of, or besides, its handling.
public enum Fault: Sendable, Equatable {
    /// Handled after that time.
    case delay(milliseconds: Int)
    /// The connection closes; the request is not handled.
    case disconnectBefore
    /// The request is handled, then the connection closes without an answer.
    case disconnectAfter
    /// Answered with the error, without being handled.
    case error(ProtocolError)
    /// Never answered.
    case stall
}

/// Queues of faults by request type, each used up by so many requests.
public final class FaultInjector: Sendable {
    private struct Entry { var fault: Fault; var remaining: Int }

    private let isArmed = Atomic<Bool>(false)
    private let entries = Mutex<[APIKey: [Entry]]>([:])

    init() {}

    /// The next `count` requests of that type meet the fault, after those that were added before.
    public func add(_ fault: Fault, to key: APIKey, count: Int = 1) {
        entries.withLock { $0[key, default: []].append(Entry(fault: fault, remaining: count)) }
        isArmed.store(true, ordering: .releasing)
    }

    /// Takes all faults back.
    public func clear() {
        entries.withLock { $0 = [:] }
        isArmed.store(false, ordering: .releasing)
    }

    /// How many requests of that type will still meet a fault.
    public func remaining(_ key: APIKey) -> Int {
        entries.withLock { $0[key, default: []].reduce(0) { $0 + $1.remaining } }
    }

    func next(for key: APIKey) -> Fault? {
        guard isArmed.load(ordering: .acquiring) else { return nil }
        return entries.withLock { entries in
            guard var queue = entries[key], !queue.isEmpty else { return nil }
            let fault = queue[0].fault
            queue[0].remaining -= 1
            if queue[0].remaining <= 0 { queue.removeFirst() }
            entries[key] = queue
            return fault
        }
    }

    /// Adds the faults of a control text: one `REQUEST FAULT [COUNT]` a line, as in `produce disconnectAfter 2`,
    /// `fetch delay:200`, `endTransaction error:51`. Returns the lines that are not understood.
    public func add(controlText: String) -> [String] {
        var refused: [String] = []
        for line in controlText.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard !words.isEmpty else { continue }
            guard words.count >= 2, let key = APIKey.allCases.first(where: { "\($0)" == words[0] }),
                let fault = Self.fault(words[1]), let count = words.count > 2 ? Int(words[2]) : 1, count > 0
            else {
                refused.append(String(line))
                continue
            }
            add(fault, to: key, count: count)
        }
        return refused
    }

    private static func fault(_ text: String) -> Fault? {
        let parts = text.split(separator: ":").map(String.init)
        switch (parts.first, parts.count > 1 ? Int(parts[1]) : nil) {
        case ("delay", .some(let milliseconds)): return .delay(milliseconds: milliseconds)
        case ("disconnectBefore", nil): return .disconnectBefore
        case ("disconnectAfter", nil): return .disconnectAfter
        case ("error", .some(let code)): return Int16(exactly: code).map { .error(ProtocolError(code: $0)) }
        case ("stall", nil): return .stall
        default: return nil
        }
    }
}
