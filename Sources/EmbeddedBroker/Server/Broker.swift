// Broker: all state of a running broker, owned by its one event loop.

import EmbeddedLog
import Logging
import NIOCore

/// The state behind the connections. Everything here happens on the event loop; nothing is shared with another thread.
final class Broker {
    let options: BrokerOptions
    let logger: Logger
    let loop: any EventLoop
    let store: LogStore
    let faults: FaultInjector
    let groups: GroupCoordinator
    let transactions: TransactionCoordinator
    let waitingFetches: WaitingFetches
    var connectionCount = 0
    /// Bytes of requests that have not come whole.
    var receivedBytes = 0
    private var timers: [RepeatedTask] = []

    /// How often time-outs of groups and transactions are looked at.
    private static let tickMilliseconds: Int64 = 50
    private static let maintenanceMilliseconds: Int64 = 5_000

    init(options: BrokerOptions, logger: Logger, loop: any EventLoop, faults: FaultInjector) throws {
        self.options = options
        self.logger = logger
        self.loop = loop
        self.faults = faults
        store = try LogStore(
            directory: options.directory, options: options.store, fileSystem: options.fileSystem
        ) { work in loop.execute(work) }
        waitingFetches = WaitingFetches(loop: loop)
        let limits = GroupLimits(
            sessionTimeoutMilliseconds: options.sessionTimeoutMilliseconds,
            initialRebalanceDelayMilliseconds: options.initialRebalanceDelayMilliseconds)
        groups = try GroupCoordinator(
            log: InternalLog(store: store, topic: InternalLog.groupsTopic), limits: limits,
            now: LogStore.steadyClockMilliseconds())
        transactions = try TransactionCoordinator(
            log: InternalLog(store: store, topic: InternalLog.transactionsTopic), store: store, groups: groups,
            logger: logger)
        for topic in store.topics.values { watch(topic) }
    }

    /// Starts the clocks; transactions that a crash interrupted between decision and end are ended first.
    func start() {
        transactions.recover(now: now)
        let bound = NIOLoopBound(self, eventLoop: loop)
        func every(_ milliseconds: Int64, _ work: @escaping @Sendable (Broker) -> Void) {
            let interval = TimeAmount.milliseconds(milliseconds)
            timers.append(
                loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in work(bound.value) })
        }
        every(Self.tickMilliseconds) { broker in
            broker.groups.tick(now: broker.now)
            broker.transactions.tick(now: broker.now)
        }
        every(Self.maintenanceMilliseconds) { $0.store.maintain() }
        if case .interval(let milliseconds) = options.store.flushPolicy {
            every(Int64(max(1, milliseconds))) { $0.store.flush() }
        }
    }

    /// Ends the clocks and closes the log; connections are closed by now.
    func stop() {
        for timer in timers { timer.cancel() }
        timers = []
        waitingFetches.cancelAll()
        do { try store.close() } catch { logger.error("Log not closed in order", metadata: ["error": "\(error)"]) }
    }

    /// For sessions and time-outs.
    var now: Int64 { LogStore.steadyClockMilliseconds() }

    // MARK: Topics

    func partition(_ topic: String, _ index: Int32) -> PartitionLog? {
        index < 0 ? nil : store.partition(topic, Int(index))
    }

    func makeTopic(_ name: String, partitions: Int, overrides: [String: String] = [:]) throws(LogError) -> Topic {
        let topic = try store.createTopic(name, partitions: partitions, overrides: overrides)
        watch(topic)
        return topic
    }

    func watch(_ topic: Topic) {
        for partition in topic.partitions where partition.onVisible == nil {
            partition.onVisible = { [weak waitingFetches] in waitingFetches?.becameVisible($0) }
        }
    }

    func selfNode(for connection: ConnectionHandler) -> WireBroker {
        WireBroker(
            nodeID: options.nodeID, host: options.advertisedHost ?? connection.localHost,
            port: Int32(connection.localPort), rack: nil)
    }
}

extension ProtocolError {
    init(_ error: LogError) { self.init(code: error.code.rawValue) }
}
