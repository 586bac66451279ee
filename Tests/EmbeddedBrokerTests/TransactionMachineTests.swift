// TransactionMachineTests: the edges of a transaction's state machine.

import Testing

@testable import EmbeddedBroker

@Suite("A transaction's state machine")
final class TransactionMachineTests {
    private var machine = TransactionMachine(
        transactionalID: "x", producerID: 7, timeoutMilliseconds: 1_000, now: 0)
    private let partition = TopicPartition(topic: "t", partition: 0)

    private func initialize(_ expected: ProducerIdentity, now: Int64) -> TransactionMachine.InitDecision {
        machine.initialize(expected: expected, timeoutMilliseconds: 1_000, now: now)
    }

    private func adopt(_ producerID: Int64) -> ProducerIdentity {
        machine.adopt(producerID: producerID, timeoutMilliseconds: 1_000, now: 0)
    }

    private func add(_ producer: ProducerIdentity, now: Int64) -> (error: ProtocolError, isChanged: Bool) {
        machine.add(partitions: [partition], from: producer, now: now)
    }

    private func end(commits: Bool, from producer: ProducerIdentity, now: Int64) -> TransactionMachine.EndDecision {
        machine.end(commits: commits, from: producer, now: now)
    }

    private func expire(now: Int64) -> Bool { machine.expire(now: now) }

    private func begin() -> ProducerIdentity {
        let decision = initialize(.none, now: 0)
        #expect(decision == .ready(machine.producer))
        return machine.producer
    }

    @Test("Each initialisation raises the epoch")
    func epochs() {
        #expect(begin() == ProducerIdentity(id: 7, epoch: 0))
        #expect(begin() == ProducerIdentity(id: 7, epoch: 1))
    }

    @Test("A bump that is asked for twice is done once; an epoch of the past is fenced")
    func bump() {
        let first = begin()
        #expect(
            initialize(first, now: 0)
                == .ready(ProducerIdentity(id: 7, epoch: 1)))
        #expect(
            initialize(first, now: 0)
                == .ready(ProducerIdentity(id: 7, epoch: 1)))
        let second = machine.producer
        _ = initialize(second, now: 0)
        #expect(initialize(first, now: 0) == .refuse(.producerFenced))
    }

    @Test("An exhausted epoch goes on with a new producer id")
    func exhausted() {
        machine.producer.epoch = Int16.max - 1
        #expect(initialize(.none, now: 0) == .needsNewProducerID)
        #expect(
            adopt(8) == ProducerIdentity(id: 8, epoch: 0))
    }

    @Test("A commit is prepared once, carried out, and answered again when asked again")
    func commit() {
        let producer = begin()
        let added = machine.add(partitions: [partition], from: producer, now: 5)
        #expect(added.error == .none && added.isChanged)
        let again = machine.add(partitions: [partition], from: producer, now: 6)
        #expect(again.error == .none && !again.isChanged)
        #expect(end(commits: true, from: producer, now: 7) == .prepare)
        #expect(end(commits: true, from: producer, now: 7) == .refuse(.concurrentTransactions))
        #expect(add(producer, now: 7).error == .concurrentTransactions)
        machine.completed(now: 8)
        #expect(end(commits: true, from: producer, now: 9) == .done)
        #expect(end(commits: false, from: producer, now: 9) == .refuse(.invalidTransactionState))
        #expect(machine.partitions.isEmpty)
    }

    @Test("Nothing to end, another producer, another epoch: refused")
    func refusals() {
        let producer = begin()
        #expect(end(commits: true, from: producer, now: 0) == .refuse(.invalidTransactionState))
        #expect(
            end(commits: true, from: ProducerIdentity(id: 9, epoch: 0), now: 0)
                == .refuse(.invalidProducerIDMapping))
        #expect(
            end(commits: true, from: ProducerIdentity(id: 7, epoch: 9), now: 0) == .refuse(.producerFenced))
    }

    @Test("A successor fences an open transaction, which is aborted first")
    func fencing() {
        let producer = begin()
        _ = machine.add(partitions: [partition], from: producer, now: 0)
        #expect(initialize(.none, now: 1) == .abortFirst)
        machine.abortFenced(now: 1)
        #expect(end(commits: true, from: producer, now: 1) == .refuse(.producerFenced))
        #expect(
            initialize(.none, now: 1) == .refuse(.concurrentTransactions))
        machine.completed(now: 2)
        #expect(begin() == ProducerIdentity(id: 7, epoch: 2))
    }

    @Test("A transaction that lasts too long is fenced and aborted")
    func timeout() {
        let producer = begin()
        _ = machine.add(partitions: [partition], from: producer, now: 100)
        #expect(!expire(now: 1_099))
        #expect(expire(now: 1_100))
        #expect(machine.phase == .prepareAbort)
        #expect(machine.checkProduce(producer, to: partition) == .invalidProducerEpoch)
    }

    @Test("Only partitions and groups of the open transaction take its records and offsets")
    func membership() {
        let producer = begin()
        #expect(machine.checkProduce(producer, to: partition) == .invalidTransactionState)
        _ = machine.add(partitions: [partition], group: "g", from: producer, now: 0)
        #expect(machine.checkProduce(producer, to: partition) == .none)
        #expect(
            machine.checkProduce(producer, to: TopicPartition(topic: "t", partition: 1)) == .invalidTransactionState)
        #expect(machine.checkOffsets(producer, group: "g") == .none)
        #expect(machine.checkOffsets(producer, group: "h") == .invalidTransactionState)
    }

    @Test("A transaction comes back from its record")
    func record() throws {
        let producer = begin()
        _ = machine.add(partitions: [partition], group: "g", from: producer, now: 5)
        let record = try #require(TransactionRecord(encoded: machine.record.encoded()))
        #expect(TransactionMachine(transactionalID: "x", record: record) == machine)
    }
}
