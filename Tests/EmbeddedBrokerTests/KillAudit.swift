// KillAudit: compares what lies in the log after all kills with what the clients were told.

import Kafka
import Testing

struct KillAudit {
    let load: KillLoad

    func check() throws {
        let violations = load.ledger.withState { $0.violations }
        #expect(violations.isEmpty, "seed \(load.seed): \(violations.prefix(5))")
        try checkPlain()
        try checkTransactions()
        try checkGroup()
    }

    /// Every acknowledged record lies at its offset with its bytes; none lies there twice, and each partition is in order.
    private func checkPlain() throws {
        let acknowledged = load.ledger.withState { $0.acknowledged }
        for partition in 0..<KillLoad.partitions {
            var rest = acknowledged[partition]
            var last: UInt64?
            var faults: [String] = []
            try read(KillLoad.plainTopic, Int32(partition), isolation: "read_uncommitted") { offset, value in
                let number = value.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                if value != KillLoad.content(number, seed: load.seed) { faults.append("\(offset) was altered") }
                if let last, number <= last { faults.append("\(offset): \(number) after \(last)") }
                last = number
                if let told = rest.removeValue(forKey: offset), told != number {
                    faults.append("\(offset) was acknowledged as \(told) and holds \(number)")
                }
            }
            #expect(faults.isEmpty, "seed \(load.seed), partition \(partition): \(faults.prefix(5))")
            #expect(rest.isEmpty, "seed \(load.seed), partition \(partition): \(rest.count) lost, \(rest.prefix(5))")
        }
        #expect(acknowledged.contains { !$0.isEmpty })
    }

    /// A committed transaction is seen whole and once, an aborted one not at all, an undecided one wholly or not at all.
    private func checkTransactions() throws {
        let outcomes = load.ledger.withState { $0.transactions }
        var seen = [Int](repeating: 0, count: outcomes.count)
        var unique = Set<[UInt8]>()
        var uncommitted = 0
        for partition in 0..<Int32(KillLoad.partitions) {
            try read(KillLoad.transactionTopic, partition, isolation: "read_committed") { offset, value in
                #expect(unique.insert(value).inserted, "seed \(load.seed): offset \(offset) is a double")
                let number = String(decoding: value, as: UTF8.self).split(separator: " ").first.flatMap { Int($0) }
                if let number, seen.indices.contains(number) { seen[number] += 1 }
            }
            try read(KillLoad.transactionTopic, partition, isolation: "read_uncommitted") { _, _ in uncommitted += 1 }
        }
        for (number, outcome) in outcomes.enumerated() {
            let all = KillLoad.recordsPerTransaction
            let allowed: Set =
                switch outcome {
                case .committed: [all]
                case .aborted: [0]
                case .open, .unknown: [0, all]
                }
            #expect(
                allowed.contains(seen[number]), "seed \(load.seed): transaction \(number), \(outcome): \(seen[number])")
        }
        #expect(outcomes.contains(.committed) && outcomes.contains(.aborted))
        // Aborted records are in the log: it is the reader's isolation that hides them.
        #expect(uncommitted > seen.reduce(0, +), "seed \(load.seed)")
        try checkTransactionOffset(outcomes, seen)
    }

    /// The offset that went with the last committed transaction counts.
    private func checkTransactionOffset(_ outcomes: [KillLedger.Outcome], _ seen: [Int]) throws {
        let partition = KafkaPartition(topic: KillLoad.plainTopic, partition: 0)
        let consumer = try load.makeConsumer(group: KillLoad.transactionGroup)
        let committed = try consumer.committed([partition], timeoutMilliseconds: 20_000)
        let last = seen.lastIndex { $0 > 0 }
        #expect(committed[partition]?.offset == last.map { Int64($0 + 1) }, "seed \(load.seed)")
    }

    private func checkGroup() throws {
        let partitions = (0..<Int32(KillLoad.partitions)).map {
            KafkaPartition(topic: KillLoad.plainTopic, partition: $0)
        }
        let committed = try load.makeConsumer(group: KillLoad.group).committed(partitions, timeoutMilliseconds: 20_000)
        for partition in partitions {
            let offset = committed[partition]?.offset
            #expect(
                load.ledger.allows(offset, of: partition.partition),
                "seed \(load.seed): \(partition) is committed at \(offset ?? -1)")
        }
        #expect(load.ledger.withState { $0.commitCount } > 0)
    }

    /// Everything from the partition's start to its end as of now.
    private func read(
        _ topic: String, _ partition: Int32, isolation: String, _ body: (Int64, [UInt8]) -> Void
    ) throws {
        let consumer = try load.makeConsumer(
            group: "audit", ["isolation.level": isolation, "enable.partition.eof": "true", "check.crcs": "true"])
        let place = KafkaPartition(topic: topic, partition: partition)
        try consumer.assign([(place, KafkaOffset.beginning)])
        let deadline = ContinuousClock.now.advanced(by: .seconds(120))
        while ContinuousClock.now < deadline {
            let polled = consumer.pollMessages(maximum: 10_000, timeoutMilliseconds: 1_000) {
                body($0.offset, $0.value ?? [])
            }
            guard case .error(let error, _, _) = polled.event else { continue }
            if error.code == .partitionEnd { return }
            throw error
        }
        throw KillTestError("\(place) was not read to its end in time")
    }
}
