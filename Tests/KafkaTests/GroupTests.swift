// GroupTests: members come and go, and every rebalance is an event in its place.

import Kafka
import TestSupport
import Testing

@Suite("Consumer groups")
struct GroupTests {
    /// A member whose owned partitions are followed through its events.
    private final class Member {
        let consumer: Consumer
        var owned: Set<KafkaPartition> = []
        var records: [TestRecord] = []

        init(_ consumer: Consumer) { self.consumer = consumer }

        func step() throws {
            let polled = consumer.pollMessages(maximum: 100, timeoutMilliseconds: 20) { records.append(TestRecord($0)) }
            guard case .rebalance(let change) = polled.event else { return }
            try consumer.answer(change)
            if change.kind == .assign {
                owned.formUnion(change.partitions)
            } else {
                owned.subtract(change.partitions)
            }
        }
    }

    private func run(_ members: [Member], until isDone: () -> Bool) throws {
        let deadline = ContinuousClock.now.advanced(by: .seconds(30))
        while !isDone() && ContinuousClock.now < deadline {
            for member in members { try member.step() }
        }
    }

    @Test("Two members share the partitions, and the one that stays takes over when the other leaves")
    func cooperativeRebalance() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 4)
        let all = Set((0..<4).map { KafkaPartition(topic: topic, partition: $0) })
        let group = TestBroker.uniqueName("group")
        let first = Member(try broker.makeConsumer(group: group))
        let second = Member(try broker.makeConsumer(group: group))

        try first.consumer.subscribe(topics: [topic])
        try run([first]) { first.owned == all }
        #expect(first.owned == all)
        #expect(first.consumer.rebalanceProtocol == "COOPERATIVE")
        #expect(first.consumer.memberID != nil)
        #expect(Set(try first.consumer.assignment()) == all)

        try second.consumer.subscribe(topics: [topic])
        try run([first, second]) { first.owned.count == 2 && second.owned.count == 2 }
        #expect(first.owned.union(second.owned) == all)
        #expect(first.owned.isDisjoint(with: second.owned))

        for partition in 0..<4 { try broker.produce([(nil, "p\(partition)")], to: topic, partition: Int32(partition)) }
        try run([first, second]) { first.records.count + second.records.count == 4 }
        #expect(Set(first.records.map(\.partition)) == Set(first.owned.map(\.partition)))

        var revoked: [KafkaPartition] = []
        try second.consumer.close(timeoutMilliseconds: 10_000) { change in
            revoked += change.partitions
            // The place for the last commit: the membership still stands.
            #expect(!change.isLost)
            #expect(throws: Never.self) {
                try second.consumer.commit(
                    Dictionary(uniqueKeysWithValues: change.partitions.map { ($0, CommittedOffset(offset: 1)) }),
                    timeoutMilliseconds: 5_000)
            }
        }
        #expect(Set(revoked) == second.owned)
        try run([first]) { first.owned == all }
        #expect(first.owned == all)
        let committed = try first.consumer.committed(Array(second.owned), timeoutMilliseconds: 5_000)
        #expect(committed.count == 2)
    }

    @Test("A member that does not poll in time is told so and loses its partitions")
    func pollIntervalExceeded() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let consumer = try broker.makeConsumer(
            group: TestBroker.uniqueName("group"),
            ["max.poll.interval.ms": "3000"])
        let member = Member(consumer)
        try consumer.subscribe(topics: [topic])
        try run([member]) { !member.owned.isEmpty }
        // The statistics of another client stand in for a clock: nothing polls this consumer meanwhile.
        let other = try broker.makeProducer(["statistics.interval.ms": "500"])
        var ticks = 0
        while ticks < 8 {
            if case .statistics = other.pollDeliveries(timeoutMilliseconds: 1_000, { _ in }).event { ticks += 1 }
        }
        var error: KafkaError?
        var lost = false
        #expect(
            try consumer.waitForEvent { event in
                switch event {
                case .error(let met, _, _): error = met
                case .rebalance(let change) where change.kind == .revoke: lost = change.isLost
                default: break
                }
                return error != nil && lost
            })
        #expect(error?.code == .pollIntervalExceeded)
    }

    @Test("Pausing everything and polling on keeps the membership beyond the poll interval")
    func pausedMemberStays() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let consumer = try broker.makeConsumer(
            group: TestBroker.uniqueName("group"),
            ["max.poll.interval.ms": "3000"])
        let member = Member(consumer)
        try consumer.subscribe(topics: [topic])
        try run([member]) { !member.owned.isEmpty }
        try consumer.pause(Array(member.owned))
        var problems: [ConsumerEvent] = []
        for _ in 0..<40 {
            if let event = consumer.poll(timeoutMilliseconds: 100, { _ in }) { problems.append(event) }
        }
        #expect(problems.isEmpty)
        try consumer.resume(Array(member.owned))
        try broker.produce([("k", "v")], to: topic)
        try run([member]) { member.records.count == 1 }
        #expect(member.records.map(\.text) == ["v"])
    }

    @Test("Records of a partition that was given up do not arrive any more")
    func unassignedPartitionIsSilent() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 2)
        let partitions = (0..<2).map { KafkaPartition(topic: topic, partition: $0) }
        for partition in partitions {
            try broker.produce((0..<500).map { (nil, "\($0)") }, to: topic, partition: partition.partition)
        }
        let consumer = try broker.makeConsumer()
        try consumer.incrementalAssign(partitions.map { ($0, 0) })
        // Both partitions are prefetched by now.
        #expect(try consumer.collect(600).count == 600)
        let rest = 400
        try consumer.incrementalUnassign([partitions[0]])
        let later = try consumer.collect(rest, timeoutMilliseconds: 500)
        #expect(later.allSatisfy { $0.partition == 1 })
    }
}
