// ProducerTests: each record's fate is reported, and a full queue is an error, never a wait.

import Kafka
import TestSupport
import Testing

@Suite("Producer")
struct ProducerTests {
    private let value: [UInt8] = Array("value".utf8)

    @Test("Each record's report carries its tag, partition and offset")
    func deliveryReports() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer()
        let index = try producer.registerTopic(try broker.makeTopic())
        let tags = [UInt64](1...500) + [UInt64.max]
        for tag in tags { try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: tag) }
        var reports: [Producer.DeliveryReport] = []
        try producer.flush(timeoutMilliseconds: 10_000) { reports.append($0) }
        #expect(reports.map(\.tag) == tags)
        #expect(reports.map(\.offset) == Array(0...500))
        #expect(reports.allSatisfy { $0.error == nil && $0.partition == 0 })
        #expect(producer.queuedCount == 0)
    }

    @Test("With reports of failures only, a flush waits for every acknowledgement and tells the refused ones")
    func onlyErrors() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer([
            "delivery.report.only.error": "true", "linger.ms": "5000", "enable.idempotence": "false", "retries": "0",
        ])
        let topic = try broker.makeTopic()
        let index = try producer.registerTopic(topic)
        for tag in 1...100 { try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: UInt64(tag)) }
        var reports: [Producer.DeliveryReport] = []
        let start = ContinuousClock.now
        try producer.flush(timeoutMilliseconds: 20_000) { reports.append($0) }
        #expect(start.duration(to: .now) < .seconds(4), "the flush did not end the lingering")
        #expect(reports.isEmpty)
        #expect(producer.queuedCount == 0)
        let consumer = try broker.makeConsumer()
        let place = KafkaPartition(topic: topic, partition: 0)
        #expect(try consumer.watermarks(place, timeoutMilliseconds: 5_000) == Watermarks(low: 0, high: 100))

        broker.cluster.pushErrors([.topicAuthorizationFailed], for: .produce)
        try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: 101)
        try producer.flush(timeoutMilliseconds: 20_000) { reports.append($0) }
        #expect(reports.map(\.tag) == [101])
        #expect(reports.first?.error?.code == .authorization)
    }

    @Test("A record the broker refuses is reported with the broker's error")
    func deliveryError() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer(["enable.idempotence": "false", "retries": "0"])
        let index = try producer.registerTopic(try broker.makeTopic())
        broker.cluster.pushErrors([.topicAuthorizationFailed], for: .produce)
        try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: 7)
        var reports: [Producer.DeliveryReport] = []
        try producer.flush(timeoutMilliseconds: 10_000) { reports.append($0) }
        let report = try #require(reports.first)
        #expect(report.tag == 7)
        #expect(report.error?.code == .authorization)
        #expect(report.error?.name == "TOPIC_AUTHORIZATION_FAILED")
    }

    @Test("An idempotent producer rides out transient errors without a repeat")
    func transientErrors() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer()
        let topic = try broker.makeTopic()
        let index = try producer.registerTopic(topic)
        broker.cluster.pushErrors([.notLeader, .requestTimedOut, .notEnoughReplicas], for: .produce)
        for tag in 1...100 { try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: UInt64(tag)) }
        var failures = 0
        try producer.flush(timeoutMilliseconds: 20_000) { if $0.error != nil { failures += 1 } }
        #expect(failures == 0)
        let consumer = try broker.makeConsumer()
        let marks = try consumer.watermarks(KafkaPartition(topic: topic, partition: 0), timeoutMilliseconds: 5_000)
        #expect(marks == Watermarks(low: 0, high: 100))
    }

    @Test("A full queue is a retriable error and accepts records again after the reports were polled")
    func queueFull() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer(["queue.buffering.max.messages": "10"])
        let index = try producer.registerTopic(try broker.makeTopic())
        let error = #expect(throws: KafkaError.self) {
            for tag in 1...11 {
                try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: UInt64(tag))
            }
        }
        #expect(error?.code == .queueFull)
        #expect(error?.isRetriable == true)
        #expect(error?.isFatal == false)
        try producer.flush(timeoutMilliseconds: 10_000)
        try producer.produce(topic: index, key: nil, value: value.span.bytes)
        // The path with headers reports a full queue the same way.
        let second = #expect(throws: KafkaError.self) {
            for _ in 1...11 {
                try producer.produce(
                    topic: index, key: nil, value: value.span.bytes, headers: [RecordHeader("h", text: "1")])
            }
        }
        #expect(second?.code == .queueFull)
        try producer.flush(timeoutMilliseconds: 10_000)
    }

    @Test("A record over the size limit and an unregistered topic are refused at once")
    func refusals() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer(["message.max.bytes": "2000"])
        let index = try producer.registerTopic(try broker.makeTopic())
        let big = [UInt8](repeating: 1, count: 4_000)
        let tooLarge = #expect(throws: KafkaError.self) {
            try producer.produce(topic: index, key: nil, value: big.span.bytes)
        }
        #expect(tooLarge?.code == .messageTooLarge)
        let unknown = #expect(throws: KafkaError.self) {
            try producer.produce(topic: index + 1, key: nil, value: value.span.bytes)
        }
        #expect(unknown?.code == .invalidArgument)
    }

    @Test("Purged records are reported as purged")
    func purge() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        try broker.cluster.setBroker(1, isUp: false)
        let producer = try broker.makeProducer()
        let index = try producer.registerTopic(topic)
        for tag in 1...3 { try producer.produce(topic: index, key: nil, value: value.span.bytes, tag: UInt64(tag)) }
        let error = #expect(throws: KafkaError.self) { try producer.flush(timeoutMilliseconds: 50) }
        #expect(error?.code == .timedOut)
        try producer.purge(includingInFlight: true)
        var reports: [Producer.DeliveryReport] = []
        try producer.flush(timeoutMilliseconds: 10_000) { reports.append($0) }
        #expect(reports.map(\.tag).sorted() == [1, 2, 3])
        #expect(reports.allSatisfy { $0.error?.code == .purged })
        #expect(producer.fatalError == nil)
    }

    @Test("Statistics and connection errors arrive as events")
    func events() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer(["statistics.interval.ms": "50"])
        var statistics: String?
        var error: KafkaError?
        let deadline = ContinuousClock.now.advanced(by: .seconds(15))
        while (statistics == nil || error == nil) && ContinuousClock.now < deadline {
            switch producer.pollDeliveries(timeoutMilliseconds: 100, { _ in }).event {
            case .statistics(let json):
                statistics = json
                try broker.cluster.setBroker(1, isUp: false)
            case .error(let met): error = met
            default: break
            }
        }
        #expect(statistics?.hasPrefix("{") == true)
        #expect(error?.code == .brokerUnavailable)
    }

    @Test("A committed transaction delivers its records and the group's offsets together")
    func transaction() throws {
        let broker = try TestBroker()
        let input = try broker.makeTopic("input")
        let output = try broker.makeTopic("output")
        try broker.produce([("k", "in")], to: input)
        let group = TestBroker.uniqueName("group")
        let consumer = try broker.makeConsumer(group: group)
        try consumer.subscribe(topics: [input])
        #expect(try consumer.collect(1).count == 1)

        let producer = try broker.makeProducer([
            "transactional.id": TestBroker.uniqueName("transactional"), "transaction.timeout.ms": "10000",
            "delivery.timeout.ms": "10000",
        ])
        let index = try producer.registerTopic(output)
        try producer.initializeTransactions(timeoutMilliseconds: 10_000)
        try producer.beginTransaction()
        try producer.produce(topic: index, key: nil, value: value.span.bytes)
        let partition = KafkaPartition(topic: input, partition: 0)
        try producer.sendOffsets(
            [partition: CommittedOffset(offset: 1)], of: consumer, timeoutMilliseconds: 10_000)
        try producer.flush(timeoutMilliseconds: 10_000)
        try producer.commitTransaction(timeoutMilliseconds: 10_000)

        // (The mock cluster answers TxnOffsetCommit but keeps no offsets, so these cannot be read back.)
        let reader = try broker.makeConsumer(
            group: TestBroker.uniqueName("reader"), ["isolation.level": "read_committed"])
        try reader.assign([(KafkaPartition(topic: output, partition: 0), 0)])
        #expect(try reader.collect(1).first?.text == "value")

        try producer.beginTransaction()
        try producer.produce(topic: index, key: nil, value: value.span.bytes)
        try producer.flush(timeoutMilliseconds: 10_000)
        try producer.abortTransaction(timeoutMilliseconds: 10_000)
    }

    @Test("A transaction out of turn is an error of state")
    func transactionState() throws {
        let broker = try TestBroker()
        let producer = try broker.makeProducer([
            "transactional.id": TestBroker.uniqueName("transactional"), "delivery.timeout.ms": "10000",
        ])
        let error = #expect(throws: KafkaError.self) { try producer.beginTransaction() }
        #expect(error?.code == .invalidState)
    }
}
