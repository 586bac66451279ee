// TransactionTests: last stable offset, aborted transactions, fencing.

import Testing

@testable import EmbeddedLog

@Suite("Transactions")
struct TransactionTests {
    private func send(_ log: PartitionLog, _ value: String, _ producer: Int64, _ sequence: Int32, epoch: Int16 = 0)
        throws
    {
        try log.put(
            value, producer: BatchProducer(id: producer, epoch: epoch, baseSequence: sequence, isTransactional: true))
    }

    @discardableResult
    private func end(
        _ log: PartitionLog, _ producer: Int64, commit: Bool, epoch: Int16 = 0, coordinator: Int32 = 0
    ) throws -> AppendResult {
        try log.appendMarker(
            producerID: producer, producerEpoch: epoch, coordinatorEpoch: coordinator, commit: commit)
    }

    @Test("Readers of committed records see them in order of decision, and never an aborted one")
    func visibility() throws {
        let log = try Harness().topic()
        try send(log, "a1", 1, 0)
        try send(log, "b1", 2, 0)
        try log.put("plain")
        #expect(log.lastStableOffset == 0)
        #expect(try log.values(.readCommitted) == [])
        #expect(try log.values() == ["a1", "b1", "plain"])
        try end(log, 1, commit: false)
        #expect(log.lastStableOffset == 1)
        try send(log, "a2", 1, 1)
        try end(log, 2, commit: true)
        #expect(log.lastStableOffset == 4)
        #expect(try log.values(.readCommitted) == ["b1", "plain"])
        try end(log, 1, commit: true)
        #expect(try log.values(.readCommitted) == ["b1", "plain", "a2"])
        let slice = try log.locate(from: 0, maxBytes: 10_000, isolation: .readCommitted)
        #expect(slice.abortedTransactions == [AbortedTransaction(producerID: 1, firstOffset: 0)])
    }

    @Test("Old epochs and old coordinators are fenced, records outside an open transaction refused")
    func fencing() throws {
        let log = try Harness().topic()
        try send(log, "a", 1, 0)
        #expect(
            code { try log.put("x", producer: BatchProducer(id: 1, epoch: 0, baseSequence: 1)) }
                == .invalidTransactionState)
        try end(log, 1, commit: false, epoch: 1, coordinator: 5)
        #expect(code { try send(log, "x", 1, 1) } == .invalidProducerEpoch)
        #expect(code { try end(log, 1, commit: true) } == .invalidProducerEpoch)
        #expect(code { try end(log, 1, commit: true, epoch: 1, coordinator: 4) } == .transactionCoordinatorFenced)
        try send(log, "b", 1, 0, epoch: 1)
        #expect(log.producer(1)?.transactionFirstOffset == 2)
    }

    @Test("Transactions over many segments survive a restart, clean or not", arguments: [true, false])
    func restart(clean: Bool) throws {
        let fileSystem = MemoryFileSystem()
        var expected: [String] = []
        do {
            let harness = try Harness(fileSystem)
            let log = try harness.topic(["segment.bytes": "1024"])
            for index in 0..<60 {
                let producer = Int64(index % 3)
                try send(log, "v\(index)", producer, Int32(index / 3))
                if index % 7 < 3 { try end(log, producer, commit: index % 2 == 0) }
            }
            for producer in 0..<3 { try end(log, Int64(producer), commit: producer == 1) }
            try send(log, "open", 9, 0)
            harness.mailbox.drain()
            expected = try log.values(.readCommitted)
            if clean { try harness.store.close() }
        }
        let log = try #require(try Harness(fileSystem).store.partition("t", 0))
        #expect(try log.values(.readCommitted) == expected)
        #expect(try log.values(.readCommitted, maxBytes: 200) == expected)
        #expect(log.lastStableOffset == log.logEndOffset - 1)
        #expect(log.producer(9)?.lastSequence == 0)
        try end(log, 9, commit: true)
        #expect(try log.values(.readCommitted) == expected + ["open"])
    }

    @Test("Under group commit nothing undecided on the disk counts as decided")
    func groupCommit() throws {
        let harness = try Harness(policy: .groupCommit)
        let log = try harness.topic()
        try send(log, "a", 1, 0)
        harness.mailbox.drain()
        #expect(log.highWatermark == 1)
        try end(log, 1, commit: true)
        #expect(log.lastStableOffset == 0)
        harness.mailbox.drain()
        #expect(log.lastStableOffset == 2)
    }
}
