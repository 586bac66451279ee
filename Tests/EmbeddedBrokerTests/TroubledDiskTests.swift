// TroubledDiskTests: what clients see when the disk is full, slow or broken.

import EmbeddedLog
import Kafka
import NIOCore
import TestSupport
import Testing

@testable import EmbeddedBroker

@Suite("Troubles of the disk")
struct TroubledDiskTests {
    @Test("Produce is refused with KAFKA_STORAGE_ERROR, reads go on, and records are taken again when there is space")
    func fullDisk() async throws {
        let disk = TroubledDisk()
        try await withBroker(
            configure: { $0.fileSystem = TroubledFileSystem(disk: disk) },
            body: { broker in
                try await broker.createTopic("t", partitions: 1)
                try broker.produce(["before"], to: "t")
                disk.isFull = true
                #expect(try Self.errorOfProduce(to: broker) == 56)
                #expect(try broker.read(1, from: "t") == ["before"])
                let waiting = try broker.makeProducer(["enable.idempotence": "true", "retry.backoff.ms": "20"])
                let topic = try waiting.registerTopic("t")
                let value = Array("retried".utf8)
                try waiting.produce(topic: topic, partition: 0, key: nil, value: value.span.bytes)
                #expect(waiting.pollDeliveries(timeoutMilliseconds: 300) { _ in }.reportCount == 0)
                disk.isFull = false
                var errors: [KafkaError] = []
                try waiting.flush(timeoutMilliseconds: 20_000) { if let error = $0.error { errors.append(error) } }
                #expect(errors.isEmpty)
                #expect(try Self.errorOfProduce(to: broker) == 0)
                #expect(try broker.read(3, from: "t") == ["before", "retried", "direct"])
            })
    }

    @Test("Under group commit an acknowledgement waits for the sync, and readers see no record before it")
    func groupCommit() async throws {
        let disk = TroubledDisk()
        try await withBroker(
            configure: {
                $0.fileSystem = TroubledFileSystem(disk: disk)
                $0.store.flushPolicy = .groupCommit
            },
            body: { broker in
                try await broker.createTopic("t", partitions: 1)
                try broker.produce(["before"], to: "t")
                let consumer = try broker.makeConsumer(group: "reader")
                try consumer.incrementalAssign([(KafkaPartition(topic: "t", partition: 0), KafkaOffset.beginning)])
                #expect(try consumer.collect(1).map(\.text) == ["before"])
                disk.holdSyncs()
                let producer = try broker.makeProducer()
                let topic = try producer.registerTopic("t")
                let value = Array("held".utf8)
                try producer.produce(topic: topic, partition: 0, key: nil, value: value.span.bytes)
                #expect(producer.pollDeliveries(timeoutMilliseconds: 400) { _ in }.reportCount == 0)
                #expect(try consumer.collect(1, timeoutMilliseconds: 300).isEmpty)
                disk.releaseSyncs()
                var offsets: [Int64] = []
                try producer.flush(timeoutMilliseconds: 20_000) { offsets.append($0.offset) }
                #expect(offsets == [1])
                #expect(try consumer.collect(1).map(\.text) == ["held"])
            })
    }

    @Test("After a sync that failed nothing is acknowledged until a restart; reads go on")
    func failedSync() async throws {
        let disk = TroubledDisk()
        try await withBroker(
            configure: {
                $0.fileSystem = TroubledFileSystem(disk: disk)
                $0.store.flushPolicy = .groupCommit
            },
            body: { broker in
                try await broker.createTopic("t", partitions: 1)
                try broker.produce(["before"], to: "t")
                disk.failsSync = true
                #expect(try Self.errorOfProduce(to: broker) == 56)
                disk.failsSync = false
                #expect(try Self.errorOfProduce(to: broker) == 56)
                #expect(try broker.read(1, from: "t") == ["before"])
            })
    }

    /// The partition's error code in the answer to a batch with one record.
    private static func errorOfProduce(to broker: EmbeddedBroker) throws -> Int16? {
        let batch = RecordBatchBuilder.batch([LogRecord(key: nil, value: Array("direct".utf8), timestamp: 1)])
        let request = ProduceRequest(
            acks: -1, timeoutMilliseconds: 1_000,
            topics: [.init(name: "t", partitions: [.init(index: 0, records: ByteBuffer(bytes: batch))])])
        var writer = WireCoder(writingInto: ByteBuffer(), version: 7, isFlexible: false)
        try writer.writeMessage(request)
        let client = try RawClient(port: broker.port)
        let body = writer.pieces().flatMap { Array($0.readableBytesView) }
        client.send(FrameTests.frame(key: 0, version: 7, isFlexible: false, body: body))
        var reader = WireCoder(
            reading: ByteBuffer(bytes: client.receive().dropFirst(8)), version: 7, isFlexible: false)
        let response: ProduceResponse = try reader.readMessage()
        return response.topics.first?.partitions.first?.error.code
    }
}
