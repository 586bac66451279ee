// Producer+Transactions: records and group offsets that become visible together.

import CRdKafka

/// Transactions need `transactional.id`. Each call throws a `KafkaError`: `requiresAbort` asks for
/// `abortTransaction`, `isRetriable` for the same call again, `isFatal` for the end of the process.
extension Producer {
    /// Registers the transactional id with the broker, ends what an earlier holder left open and fences it. Once per
    /// client, before the first transaction.
    public func initializeTransactions(timeoutMilliseconds: Int32) throws(KafkaError) {
        let error = unsafe rd_kafka_init_transactions(client, timeoutMilliseconds)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot initialise transactions") { throw error }
    }

    public func beginTransaction() throws(KafkaError) {
        let error = unsafe rd_kafka_begin_transaction(client)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot begin a transaction") { throw error }
    }

    /// Adds the consumer group's next offsets to the transaction, in the name of `consumer`'s membership.
    public func sendOffsets(
        _ offsets: [KafkaPartition: CommittedOffset], of consumer: Consumer, timeoutMilliseconds: Int32
    ) throws(KafkaError) {
        guard let membership = unsafe rd_kafka_consumer_group_metadata(consumer.client) else {
            throw KafkaError(code: .invalidState, message: "The consumer has no group to commit offsets for")
        }
        defer { unsafe rd_kafka_consumer_group_metadata_destroy(membership) }
        let list = Consumer.list(offsets)
        let error = unsafe rd_kafka_send_offsets_to_transaction(
            client, list.pointer, membership, timeoutMilliseconds)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot add offsets to the transaction") {
            throw error
        }
    }

    /// Commits. Take all delivery reports with `flush` first: librdkafka's own flush inside waits in steps of 10 ms and,
    /// with reports as events, does not serve them at all.
    public func commitTransaction(timeoutMilliseconds: Int32) throws(KafkaError) {
        let error = unsafe rd_kafka_commit_transaction(client, timeoutMilliseconds)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot commit the transaction") { throw error }
    }

    /// Aborts: records of the transaction are never visible to read_committed consumers. Those still queued are reported
    /// as `purged`; the caller seeks its inputs back to the committed offsets.
    public func abortTransaction(timeoutMilliseconds: Int32) throws(KafkaError) {
        let error = unsafe rd_kafka_abort_transaction(client, timeoutMilliseconds)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot abort the transaction") { throw error }
    }
}
