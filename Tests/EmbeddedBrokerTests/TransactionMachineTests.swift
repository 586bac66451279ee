// TransactionMachineTests: the edges of a transaction's state machine.

@testable import EmbeddedBroker
import Testing

@Suite("A transaction's state machine")
struct TransactionMachineTests {
    private var machine = TransactionMachine(
        transactionalID: "x", producerID: 7, timeoutMilliseconds: 1_000, now: 0)
    private let partition = TopicPartition(topic: "t", partition: 0)

    private mutating func begin() -> ProducerIdentity {
        let decision = machine.initialize(expected: .none, timeoutMilliseconds: 1_000, now: 0)
        #expect(decision == .ready(machine.producer))
        return machine.producer
    }

    @Test("Each initialisation raises the epoch")
    mutating func epochs() {
        #expect(begin() == ProducerIdentity(id: 7, epoch: 0))
        #expect(begin() == ProducerIdentity(id: 7, epoch: 1))
    }

    @Test("A bump that is asked for twice is done once; an epoch of the past is fenced")
    mutating func bump() {
        let first = begin()
        #expect(
            machine.initialize(expected: first, timeoutMilliseconds: 1_000, now: 0)
                == .ready(ProducerIdentity(id: 7, epoch: 1)))
        #expect(
            machine.initialize(expected: first, timeoutMilliseconds: 1_000, now: 0)
                == .ready(ProducerIdentity(id: 7, epoch: 1)))
        let second = machine.producer
        _ = machine.initialize(expected: second, timeoutMilliseconds: 1_000, now: 0)
        #expect(machine.initialize(expected: first, timeoutMilliseconds: 1_000, now: 0) == .refuse(.producerFenced))
    }

    @Test("An exhausted epoch goes on with a new producer id")
    mutating func exhausted() {
        machine.producer.epoch = Int16.max - 1
        #expect(machine.initialize(expected: .none, timeoutMilliseconds: 1_000, now: 0) == .needsNewProducerID)
        #expect(
            machine.adopt(producerID: 8, timeoutMilliseconds: 1_000, now: 0) == ProducerIdentity(id: 8, epoch: 0))
    }

    @Test("A commit is prepared once, carried out, and answered again when asked again")
    mutating func commit() {
        let producer = begin()
        let added = machine.add(partitions: [partition], from: producer, now: 5)
        #expect(added.error == .none && added.isChanged)
        let again = machine.add(partitions: [partition], from: producer, now: 6)
        #expect(again.error == .none && !again.isChanged)
        #expect(machine.end(commits: true, from: producer, now: 7) == .prepare)
        #expect(machine.end(commits: true, from: producer, now: 7) == .refuse(.concurrentTransactions))
        #expect(machine.add(partitions: [partition], from: producer, now: 7).error == .concurrentTransactions)
        machine.completed(now: 8)
        #expect(machine.end(commits: true, from: producer, now: 9) == .done)
        #expect(machine.end(commits: false, from: producer, now: 9) == .refuse(.invalidTransactionState))
        #expect(machine.partitions.isEmpty)
    }

    @Test("Nothing to end, another producer, another epoch: refused")
    mutating func refusals() {
        let producer = begin()
        #expect(machine.end(commits: true, from: producer, now: 0) == .refuse(.invalidTransactionState))
        #expect(
            machine.end(commits: true, from: ProducerIdentity(id: 9, epoch: 0), now: 0)
                == .refuse(.invalidProducerIDMapping))
        #expect(
            machine.end(commits: true, from: ProducerIdentity(id: 7, epoch: 9), now: 0) == .refuse(.producerFenced))
    }

    @Test("A successor fences an open transaction, which is aborted first")
    mutating func fencing() {
        let producer = begin()
        _ = machine.add(partitions: [partition], from: producer, now: 0)
        #expect(machine.initialize(expected: .none, timeoutMilliseconds: 1_000, now: 1) == .abortFirst)
        machine.abortFenced(now: 1)
        #expect(machine.end(commits: true, from: producer, now: 1) == .refuse(.producerFenced))
        #expect(
            machine.initialize(expected: .none, timeoutMilliseconds: 1_000, now: 1) == .refuse(.concurrentTransactions))
        machine.completed(now: 2)
        #expect(begin() == ProducerIdentity(id: 7, epoch: 2))
    }

    @Test("A transaction that lasts too long is fenced and aborted")
    mutating func timeout() {
        let producer = begin()
        _ = machine.add(partitions: [partition], from: producer, now: 100)
        #expect(!machine.expire(now: 1_099))
        #expect(machine.expire(now: 1_100))
        #expect(machine.phase == .prepareAbort)
        #expect(machine.checkProduce(producer, to: partition) == .invalidProducerEpoch)
    }

    @Test("Only partitions and groups of the open transaction take its records and offsets")
    mutating func membership() {
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
    mutating func record() throws {
        let producer = begin()
        _ = machine.add(partitions: [partition], group: "g", from: producer, now: 5)
        let record = try #require(TransactionRecord(encoded: machine.record.encoded()))
        #expect(TransactionMachine(transactionalID: "x", record: record) == machine)
    }
}
