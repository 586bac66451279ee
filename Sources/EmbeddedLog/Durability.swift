// Durability: group commit: which appends an fsync has covered, and who waits for it.

import Synchronization

/// Files of one partition to sync, and the marks that hold afterwards.
struct FlushWork: Sendable {
    var files: [any LogFile]
    var directory: String?
    var partitionDirectory: String
    /// Written after the sync; nil if the recovery point stays.
    var checkpoint: PartitionCheckpoint?
    /// The log's end that the sync covers, nil if the active segment is not in it.
    var endOffset: Int64?
}

/// Whether a sync has failed: nothing that rests on it may be written afterwards. Shared with the flusher's thread.
final class FlushHealth: Sendable {
    private let failed = Mutex(false)

    var hasFailed: Bool { failed.withLock { $0 } }

    func fail() { failed.withLock { $0 = true } }
}

/// Orders appends, syncs what is dirty with one job at a time, and calls back whoever waits.
final class Durability {
    private unowned let context: LogContext
    private var sequence: UInt64 = 0
    private var durableSequence: UInt64 = 0
    private var isRunning = false
    /// Partitions with appends since their last sync.
    private var dirty: [ObjectIdentifier: PartitionLog] = [:]
    /// Partitions with closed segments or new files that are not synced.
    private var rolled: [ObjectIdentifier: PartitionLog] = [:]
    private var waiters: [(sequence: UInt64, callback: (Result<Void, LogError>) -> Void)] = []
    private var wantsAll = false

    init(_ context: LogContext) { self.context = context }

    private var isGroupCommit: Bool { context.options.flushPolicy == .groupCommit }

    /// Everything appended so far.
    var position: DurabilityPosition { DurabilityPosition(sequence: sequence) }

    func appended(to log: PartitionLog) -> DurabilityPosition {
        sequence += 1
        dirty[ObjectIdentifier(log)] = log
        let position = position
        if isGroupCommit { start() }
        return position
    }

    func rolled(_ log: PartitionLog) {
        rolled[ObjectIdentifier(log)] = log
        // Under group commit the append that follows, or the maintenance, starts the sync.
        if !isGroupCommit { start() }
    }

    /// Starts what is due.
    func kick() { start() }

    func wait(for position: DurabilityPosition, _ callback: @escaping (Result<Void, LogError>) -> Void) {
        guard isGroupCommit, position.sequence > durableSequence else { return callback(.success(())) }
        if let refusal = context.refusal { return callback(.failure(refusal)) }
        waiters.append((position.sequence, callback))
    }

    func flushAll() {
        wantsAll = true
        start()
    }

    func forget(_ log: PartitionLog) {
        dirty.removeValue(forKey: ObjectIdentifier(log))
        rolled.removeValue(forKey: ObjectIdentifier(log))
    }

    private func start() {
        guard !isRunning, context.refusal == nil else { return }
        let includesActive = isGroupCommit || wantsAll
        var logs = rolled
        if includesActive { logs.merge(dirty) { log, _ in log } }
        guard !logs.isEmpty else {
            wantsAll = false
            return
        }
        var work: [FlushWork] = []
        var order: [PartitionLog] = []
        for log in logs.values {
            work.append(log.takeFlushWork(includesActive: includesActive))
            order.append(log)
        }
        rolled.removeAll()
        if includesActive { dirty.removeAll() }
        wantsAll = false
        isRunning = true
        let covered = includesActive ? sequence : durableSequence
        let fileSystem = context.fileSystem
        let owner = OwnerConfined((self, order))
        let health = context.health
        context.flusher.run { [work] in
            Self.sync(work, fileSystem, health)
        } then: { [work] result in
            let (durability, logs) = owner.value
            durability.finished(result, work, logs, covered: covered)
        }
    }

    private func finished(
        _ result: Result<[Bool], LogError>, _ work: [FlushWork], _ logs: [PartitionLog], covered: UInt64
    ) {
        isRunning = false
        switch result {
        case .failure(let error):
            context.refuse(error)
            let failed = waiters
            waiters.removeAll()
            for waiter in failed { waiter.callback(.failure(error)) }
            return
        case .success(let checkpointed):
            for index in logs.indices { logs[index].flushed(work[index], checkpointed: checkpointed[index]) }
        }
        durableSequence = max(durableSequence, covered)
        let ready = waiters.prefix { $0.sequence <= durableSequence }
        waiters.removeFirst(ready.count)
        for waiter in ready { waiter.callback(.success(())) }
        if wantsAll || !rolled.isEmpty || (isGroupCommit && !dirty.isEmpty) { start() }
    }

    /// Syncs in the caller and gives, for each piece, whether its checkpoint was written.
    ///
    /// A file that cannot be synced is an error; a checkpoint that cannot be written only makes recovery start earlier.
    static func sync(
        _ work: [FlushWork], _ fileSystem: any FileSystem, _ health: FlushHealth
    ) -> Result<[Bool], LogError> {
        var checkpointed: [Bool] = []
        do throws(FileError) {
            for piece in work {
                for file in piece.files { try file.sync() }
                if let directory = piece.directory {
                    do throws(FileError) { try fileSystem.syncDirectory(directory) } catch {
                        // The topic was deleted meanwhile.
                        if error.code != .notFound { throw error }
                    }
                }
            }
        } catch {
            health.fail()
            return .failure(
                LogError(
                    .storage, "\(error.message); restart the broker after mending the disk: it will recover the log"))
        }
        for piece in work {
            guard let checkpoint = piece.checkpoint else {
                checkpointed.append(false)
                continue
            }
            checkpointed.append(PartitionLog.write(checkpoint, in: piece.partitionDirectory, fileSystem, health))
        }
        return .success(checkpointed)
    }
}
