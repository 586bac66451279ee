// LogError: why the log refused a request, with Kafka's number for it.

/// A refusal or failure of the log.
///
/// ``Code-swift.enum`` names what a Kafka client must be told; the message is for people.
public struct LogError: Error, Sendable, CustomStringConvertible {
    /// What went wrong, named after Kafka's error codes; the raw value is the protocol's number.
    public enum Code: Int16, Sendable {
        /// A defect of the log itself or of its directory that no client can mend.
        case unknown = -1
        case offsetOutOfRange = 1
        case corruptMessage = 2
        case unknownTopicOrPartition = 3
        case messageTooLarge = 10
        case invalidTopic = 17
        case recordListTooLarge = 18
        case invalidTimestamp = 32
        case topicAlreadyExists = 36
        case invalidPartitions = 37
        case invalidConfig = 40
        case invalidRequest = 42
        case unsupportedForMessageFormat = 43
        case outOfOrderSequenceNumber = 45
        case duplicateSequenceNumber = 46
        case invalidProducerEpoch = 47
        case invalidTransactionState = 48
        case transactionCoordinatorFenced = 52
        /// The disk refused (full, failing) or the log was closed after a failed fsync.
        case storage = 56
        case invalidRecord = 87
    }

    /// The kind of error; its raw value is Kafka's error code.
    public var code: Code
    /// What happened, where, and how to mend it.
    public var message: String

    /// An error with Kafka's code and a message for people.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code): \(message)" }

    init(_ error: FileError) {
        self.init(.storage, error.message)
    }
}
