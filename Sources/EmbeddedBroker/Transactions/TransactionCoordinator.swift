// TransactionCoordinator: all transactional ids, kept in __transaction_state.

import EmbeddedLog
import Logging

/// Carries out what the transactions' state machines decide. Used on the broker's event loop only.
///
/// The end of a transaction: the decision is written and durable, then the markers and the groups' offsets, then the
/// end. After a crash in between, ``recover(now:)`` does the rest again; each step may be done twice.
final class TransactionCoordinator {
    private(set) var machines: [String: TransactionMachine] = [:]
    private let log: InternalLog
    private let store: LogStore
    private let groups: GroupCoordinator
    private let logger: Logger

    /// Producer ids handed out and not yet used.
    private var freeProducerIDs: Range<Int64> = 0..<0
    private var nextExpiry: Int64 = 0

    /// Producer ids are reserved in blocks, so that not each new producer costs a write.
    private static let producerIDBlock: Int64 = 1_000
    private static let expiryMilliseconds: Int64 = 604_800_000
    private static let expiryIntervalMilliseconds: Int64 = 60_000
    /// The coordinator never moves, so its epoch never changes.
    private static let coordinatorEpoch: Int32 = 0

    init(
        log: InternalLog, store: LogStore, groups: GroupCoordinator, logger: Logger
    ) throws(LogError) {
        self.log = log
        self.store = store
        self.groups = groups
        self.logger = logger
        try log.load { [self] record in
            guard let key = record.key.flatMap(TransactionRecordKey.init(encoded:)), key.format == 1 else { return }
            machines[key.transactionalID] = record.value.flatMap(TransactionRecord.init(encoded:)).flatMap {
                TransactionMachine(transactionalID: key.transactionalID, record: $0)
            }
        }
    }

    /// Ends the transactions that were decided before a crash.
    func recover(now: Int64) {
        // Where the clock was set back since, an open transaction must not last the longer for it.
        for id in machines.keys { machines[id]?.clampStart(to: now) }
        for machine in machines.values where machine.isDeciding { finish(machine.transactionalID) { _ in } }
    }

    private func write(_ machine: TransactionMachine) throws(LogError) -> DurabilityPosition {
        let key = TransactionRecordKey(transactionalID: machine.transactionalID)
        let record = LogRecord(
            key: key.encoded(), value: machine.record.encoded(), timestamp: LogStore.wallClockMilliseconds())
        return try log.append([record])
    }

    private func nextProducerID() throws(LogError) -> Int64 {
        if freeProducerIDs.isEmpty { freeProducerIDs = try store.reserveProducerIDs(Self.producerIDBlock) }
        return freeProducerIDs.removeFirst()
    }

    // MARK: Beginning

    typealias InitReply = (Result<ProducerIdentity, ProtocolError>) -> Void

    /// A new identity for a producer without transactions.
    func initializeIdempotent() -> Result<ProducerIdentity, ProtocolError> {
        do throws(LogError) {
            return .success(ProducerIdentity(id: try nextProducerID(), epoch: 0))
        } catch { return .failure(ProtocolError(error)) }
    }

    func initialize(
        _ transactionalID: String, expected: ProducerIdentity, timeoutMilliseconds: Int32, now: Int64,
        reply: @escaping InitReply
    ) {
        do throws(LogError) {
            var machine: TransactionMachine
            if let known = machines[transactionalID] {
                machine = known
            } else {
                machine = TransactionMachine(
                    transactionalID: transactionalID, producerID: try nextProducerID(),
                    timeoutMilliseconds: timeoutMilliseconds, now: now)
            }
            var identity = machine.producer
            switch machine.initialize(expected: expected, timeoutMilliseconds: timeoutMilliseconds, now: now) {
            case .refuse(let error): return reply(.failure(error))
            case .abortFirst:
                machine.abortFenced(now: now)
                try decide(machine) { _ in }
                // The client asks again until the transaction of its predecessor is gone.
                return reply(.failure(.concurrentTransactions))
            case .needsNewProducerID:
                identity = machine.adopt(
                    producerID: try nextProducerID(), timeoutMilliseconds: timeoutMilliseconds, now: now)
            case .ready(let ready): identity = ready
            }
            let position = try write(machine)
            machines[transactionalID] = machine
            store.whenDurable(position) { result in reply(result.map { identity }.mapError { ProtocolError($0) }) }
        } catch { reply(.failure(ProtocolError(error))) }
    }

    // MARK: Within

    /// Adds partitions or a group to the transaction of that producer.
    func add(
        partitions: [TopicPartition] = [], group: String? = nil, to transactionalID: String,
        from producer: ProducerIdentity, now: Int64, reply: @escaping (ProtocolError) -> Void
    ) {
        guard !transactionalID.isEmpty else { return reply(.invalidRequest) }
        guard var machine = machines[transactionalID] else { return reply(.invalidProducerIDMapping) }
        let (error, isChanged) = machine.add(partitions: partitions, group: group, from: producer, now: now)
        guard error == .none, isChanged else { return reply(error) }
        do throws(LogError) {
            let position = try write(machine)
            machines[transactionalID] = machine
            store.whenDurable(position) { result in
                switch result {
                case .success: reply(.none)
                case .failure(let error): reply(ProtocolError(error))
                }
            }
        } catch { reply(ProtocolError(error)) }
    }

    func checkProduce(
        _ transactionalID: String, _ producer: ProducerIdentity, to partition: TopicPartition
    ) -> ProtocolError {
        machines[transactionalID]?.checkProduce(producer, to: partition) ?? .invalidProducerIDMapping
    }

    func checkOffsets(_ transactionalID: String, _ producer: ProducerIdentity, group: String) -> ProtocolError {
        machines[transactionalID]?.checkOffsets(producer, group: group) ?? .invalidProducerIDMapping
    }

    // MARK: Ending

    func end(
        _ transactionalID: String, commits: Bool, from producer: ProducerIdentity, now: Int64,
        reply: @escaping (ProtocolError) -> Void
    ) {
        guard !transactionalID.isEmpty else { return reply(.invalidRequest) }
        guard var machine = machines[transactionalID] else { return reply(.invalidProducerIDMapping) }
        switch machine.end(commits: commits, from: producer, now: now) {
        case .refuse(let error): reply(error)
        case .done: reply(.none)
        case .prepare:
            do throws(LogError) {
                try decide(machine, reply: reply)
            } catch { reply(ProtocolError(error)) }
        }
    }

    /// Writes a decision down; what follows from it waits until nothing can undo it.
    private func decide(
        _ machine: TransactionMachine, reply: @escaping (ProtocolError) -> Void
    ) throws(LogError) {
        let position = try write(machine)
        machines[machine.transactionalID] = machine
        store.whenDurable(position) { [self] result in
            switch result {
            case .success: finish(machine.transactionalID, reply: reply)
            case .failure(let error): reply(ProtocolError(error))
            }
        }
    }

    /// Writes the markers and offsets of a decided transaction, then its end. What fails is tried again by ``tick(now:)``.
    private func finish(_ transactionalID: String, reply: @escaping (ProtocolError) -> Void) {
        guard let machine = machines[transactionalID], machine.isDeciding else { return reply(.none) }
        let commits = machine.phase == .prepareCommit
        do throws(LogError) {
            var last: DurabilityPosition?
            for target in machine.partitions.sorted() {
                // A topic that was deleted has nothing left to decide about.
                guard let partition = store.partition(target.topic, Int(target.partition)) else { continue }
                let result = try partition.appendMarker(
                    producerID: machine.producer.id, producerEpoch: machine.producer.epoch,
                    coordinatorEpoch: Self.coordinatorEpoch, commit: commits)
                last = max(last ?? result.position, result.position)
            }
            for group in machine.groups.sorted() {
                guard
                    let position = try groups.endTransaction(
                        producerID: machine.producer.id, group: group, commits: commits)
                else { continue }
                last = max(last ?? position, position)
            }
            guard let last else { return complete(machine, reply: reply) }
            store.whenDurable(last) { [self] result in
                switch result {
                case .success: complete(machine, reply: reply)
                case .failure(let error): reply(ProtocolError(error))
                }
            }
        } catch {
            logger.error(
                "Transaction not ended, trying again",
                metadata: ["transactional_id": "\(transactionalID)", "error": "\(error)"])
            reply(.concurrentTransactions)
        }
    }

    private func complete(_ decided: TransactionMachine, reply: @escaping (ProtocolError) -> Void) {
        var machine = decided
        machine.completed(now: LogStore.steadyClockMilliseconds())
        do throws(LogError) {
            let position = try write(machine)
            machines[machine.transactionalID] = machine
            store.whenDurable(position) { _ in reply(.none) }
        } catch { reply(.concurrentTransactions) }
    }

    // MARK: Time

    /// Aborts what lasted too long, goes on with what could not be ended, forgets ids that nobody uses.
    func tick(now: Int64) {
        for (id, machine) in machines where machine.phase == .ongoing {
            var machine = machine
            guard machine.expire(now: now) else { continue }
            logger.info("Transaction timed out", metadata: ["transactional_id": "\(id)"])
            do throws(LogError) { try decide(machine) { _ in } } catch {
                logger.error("Transaction not aborted", metadata: ["transactional_id": "\(id)", "error": "\(error)"])
            }
        }
        guard now >= nextExpiry else { return }
        nextExpiry = now + Self.expiryIntervalMilliseconds
        for (id, machine) in machines {
            if machine.isDeciding {
                if machine.updatedAt < now - Self.expiryIntervalMilliseconds { finish(id) { _ in } }
            } else if machine.phase != .ongoing, machine.updatedAt < now - Self.expiryMilliseconds {
                let key = TransactionRecordKey(transactionalID: id)
                guard (try? log.append([LogRecord(key: key.encoded(), value: nil, timestamp: now)])) != nil else {
                    return
                }
                machines[id] = nil
            }
        }
    }
}
