// RecordTests: records arrive as they were sent.

import Kafka
import TestSupport
import Testing

@Suite("Records")
struct RecordTests {
    private func consumer(of topic: String, on broker: TestBroker, from offset: Int64 = 0) throws -> Consumer {
        let consumer = try broker.makeConsumer()
        try consumer.assign([(KafkaPartition(topic: topic, partition: 0), offset)])
        return consumer
    }

    @Test("Key, value, headers and timestamp survive byte for byte")
    func roundTrip() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let producer = try broker.makeProducer()
        let index = try producer.registerTopic(topic)
        let key: [UInt8] = [0, 255, 128, 10]
        let value = [UInt8]((0...255).map { UInt8($0) })
        let headers = [
            RecordHeader("ce_id", text: "a-1"), RecordHeader("empty", []), RecordHeader("null", nil),
            RecordHeader("binary", [0, 1, 0]), RecordHeader("ce_id", text: "again"),
        ]
        try producer.produce(
            topic: index, key: key.span.bytes, value: value.span.bytes, headers: headers,
            timestampMilliseconds: 1_700_000_000_123)
        try producer.flush(timeoutMilliseconds: 10_000)

        let consumer = try consumer(of: topic, on: broker)
        let records = try consumer.collect(1)
        let record = try #require(records.first)
        #expect(record.key == key)
        #expect(record.value == value)
        #expect(record.headers == headers)
        #expect(record.timestampMilliseconds == 1_700_000_000_123)
        #expect(record.partition == 0)
        #expect(record.offset == 0)
        #expect(consumer.topicName(at: record.topicIndex) == topic)
    }

    @Test("Null and empty stay different, for keys and for values")
    func nullAndEmpty() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        try broker.produce([(nil, nil), ("", ""), ("k", nil), (nil, "v")], to: topic)
        let records = try consumer(of: topic, on: broker).collect(4)
        #expect(records.map(\.key) == [nil, [], [UInt8(ascii: "k")], nil])
        #expect(records.map(\.value) == [nil, [], nil, [UInt8(ascii: "v")]])
    }

    @Test("Null and empty stay different on the path with headers too")
    func nullAndEmptyWithHeaders() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let producer = try broker.makeProducer()
        let index = try producer.registerTopic(topic)
        let empty: [UInt8] = []
        let header = [RecordHeader("h", text: "1")]
        try producer.produce(topic: index, key: nil, value: nil, headers: header)
        try producer.produce(topic: index, key: empty.span.bytes, value: empty.span.bytes, headers: header)
        try producer.flush(timeoutMilliseconds: 10_000)
        let records = try consumer(of: topic, on: broker).collect(2)
        #expect(records.map(\.key) == [nil, []])
        #expect(records.map(\.value) == [nil, []])
    }

    @Test("A drain takes many records in order and waits only for the first")
    func batchOrder() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let expected = (0..<2_000).map { "record \($0)" }
        try broker.produce(expected.map { ("k", $0) }, to: topic)
        let consumer = try consumer(of: topic, on: broker)
        #expect(try consumer.collect(2_000).map(\.text) == expected)

        try consumer.seek([(KafkaPartition(topic: topic, partition: 0), 10)], timeoutMilliseconds: 5_000)
        var sizes: [Int] = []
        var offsets: [Int64] = []
        while offsets.count < 1_990 {
            let polled = consumer.pollMessages(maximum: 100, timeoutMilliseconds: 5_000) { offsets.append($0.offset) }
            sizes.append(polled.messageCount)
        }
        #expect(offsets == Array(10..<2_000))
        #expect(sizes.allSatisfy { $0 <= 100 })
        #expect(sizes.contains(100))
    }

    @Test("An error of the body ends the drain after the record in hand")
    func bodyThrows() throws {
        struct Stop: Error {}
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        try broker.produce((0..<10).map { ("k", "\($0)") }, to: topic)
        let consumer = try consumer(of: topic, on: broker)
        #expect(throws: Stop.self) {
            while true {
                _ = try consumer.pollMessages(maximum: 10, timeoutMilliseconds: 5_000) { message in
                    if message.offset == 4 { throw Stop() }
                }
            }
        }
        #expect(try consumer.collect(1).first?.offset == 5)
    }

    @Test("Key and value can be borrowed together")
    func keyAndValue() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        try broker.produce([("key", "a value"), (nil, nil)], to: topic)
        let consumer = try consumer(of: topic, on: broker)
        var sizes: [[Int]] = []
        while sizes.count < 2 {
            _ = consumer.pollMessages(maximum: 2, timeoutMilliseconds: 5_000) { message in
                message.withKeyAndValue { sizes.append([$0?.byteCount ?? -1, $1?.byteCount ?? -1]) }
            }
        }
        #expect(sizes == [[3, 7], [-1, -1]])
    }

    @Test("Records of several topics carry the index of their registration")
    func topicIndices() throws {
        let broker = try TestBroker()
        let topics = try ["a", "b", "c"].map { try broker.makeTopic($0) }
        for topic in topics { try broker.produce([("k", topic)], to: topic) }
        let consumer = try broker.makeConsumer()
        try consumer.registerTopic(topics[2])
        try consumer.assign(topics.map { (KafkaPartition(topic: $0, partition: 0), 0) })
        let records = try consumer.collect(3)
        #expect(Set(records.map(\.topicIndex)) == [0, 1, 2])
        for record in records {
            #expect(consumer.topicName(at: record.topicIndex) == record.text)
        }
        #expect(records.first { $0.text == topics[2] }?.topicIndex == 0)
        #expect(consumer.topicName(at: 3) == nil)
    }

    @Test("A key goes to the partition that murmur2, as in the Java clients, gives it")
    func partitioner() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 8)
        // Partitions of these keys by org.apache.kafka.common.utils.Utils.murmur2, known from Kafka's own UtilsTest:
        // murmur2("21") = -973932308, murmur2("foobar") = -790332482, murmur2("abc") = 479470107.
        let hashes: [(String, Int32)] = [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107)]
        try broker.produce(hashes.map { ($0.0, $0.0) }, to: topic)
        let consumer = try broker.makeConsumer()
        try consumer.assign((0..<8).map { (KafkaPartition(topic: topic, partition: $0), 0) })
        for record in try consumer.collect(3) {
            let hash = try #require(hashes.first { $0.0 == record.text }).1
            #expect(record.partition == (hash & 0x7fff_ffff) % 8)
        }
    }
}
