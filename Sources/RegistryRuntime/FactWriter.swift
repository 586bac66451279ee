// FactWriter: writes single records and waits until the brokers have them.

public import Kafka

/// An idempotent producer for records that are few and must not be lost.
public final class FactWriter {
    private static let deliveryMilliseconds: Int32 = 30_000

    private let producer: Producer

    public init(configuration: KafkaConfiguration) throws(KafkaError) {
        producer = try Producer(configuration: configuration)
    }

    /// Returns when all replicas in sync have the record.
    /// - Throws: the broker's refusal, or `timedOut`: then the record may be there or not, and is to be written again.
    public func write(
        topic: String, key: String, value: [UInt8], headers: [RecordHeader] = []
    ) throws(KafkaError) {
        let index = try producer.registerTopic(topic)
        let keyBytes = Array(key.utf8)
        try producer.produce(topic: index, key: keyBytes.span.bytes, value: value.span.bytes, headers: headers)
        var failure: KafkaError?
        try producer.flush(timeoutMilliseconds: Self.deliveryMilliseconds) { report in
            if let error = report.error { failure = error }
        }
        if let failure { throw failure }
    }
}
