// KafkaPartition: partitions, offsets and the C list that carries them.

import CRdKafka
import Glibc

/// A partition of a named topic.
public struct KafkaPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var topic: String
    public var partition: Int32

    public init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (lhs: KafkaPartition, rhs: KafkaPartition) -> Bool {
        lhs.topic == rhs.topic ? lhs.partition < rhs.partition : lhs.topic < rhs.topic
    }

    public var description: String { "\(topic)[\(partition)]" }
}

/// Offsets with a special meaning, next to the real ones (0 and up).
public enum KafkaOffset {
    public static let beginning: Int64 = -2
    public static let end: Int64 = -1
    /// The group's committed offset.
    public static let stored: Int64 = -1000
    public static let invalid: Int64 = -1001
}

/// An offset of a group and the text that was committed with it.
public struct CommittedOffset: Hashable, Sendable {
    /// The next record to read: the last processed offset + 1.
    public var offset: Int64
    /// Free text, stored by the broker beside the offset (4 KiB at most by default).
    public var metadata: String

    public init(offset: Int64, metadata: String = "") {
        self.offset = offset
        self.metadata = metadata
    }
}

/// The first offset of a partition and the one after the last.
public struct Watermarks: Hashable, Sendable {
    public var low: Int64
    public var high: Int64

    public init(low: Int64, high: Int64) {
        self.low = low
        self.high = high
    }
}

/// A list of partitions for librdkafka; destroyed with this value.
@safe struct PartitionList: ~Copyable {
    struct Element {
        var partition: KafkaPartition
        var offset: Int64
        var metadata: String
        var response: rd_kafka_resp_err_t
    }

    /// Owned. Optional only because C functions import so: the library aborts rather than return NULL.
    let pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?

    init(capacity: Int = 8) {
        unsafe pointer = rd_kafka_topic_partition_list_new(Int32(capacity))
    }

    /// Takes over a list.
    init(adopting pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?) {
        unsafe self.pointer = unsafe pointer
    }

    init(_ partitions: some Collection<KafkaPartition>) {
        self.init(capacity: partitions.count)
        for partition in partitions { add(partition) }
    }

    deinit {
        guard let pointer = unsafe pointer else { return }
        unsafe rd_kafka_topic_partition_list_destroy(pointer)
    }

    func add(_ partition: KafkaPartition, offset: Int64 = KafkaOffset.invalid, metadata: String = "") {
        guard let element = unsafe rd_kafka_topic_partition_list_add(pointer, partition.topic, partition.partition)
        else { return }
        unsafe element.pointee.offset = offset
        guard !metadata.isEmpty else { return }
        let bytes = Array(metadata.utf8)
        // The list frees metadata with free(3), so it must come from malloc(3).
        guard let copy = unsafe malloc(bytes.count) else { return }
        unsafe UnsafeMutableRawBufferPointer(start: copy, count: bytes.count).copyBytes(from: bytes)
        unsafe element.pointee.metadata = copy
        unsafe element.pointee.metadata_size = bytes.count
    }

    var elements: [Element] { unsafe Self.elements(of: pointer) }

    /// Copies a list that stays owned by someone else, for instance by an event.
    static func elements(of list: UnsafePointer<rd_kafka_topic_partition_list_t>?) -> [Element] {
        guard let list = unsafe list else { return [] }
        let count = unsafe Int(list.pointee.cnt)
        var result: [Element] = []
        result.reserveCapacity(count)
        for index in 0..<count {
            // In bounds: the library guarantees `cnt` elements behind `elems`.
            guard let element = unsafe list.pointee.elems?.advanced(by: index).pointee else { break }
            result.append(
                Element(
                    partition: KafkaPartition(
                        topic: unsafe String(cString: element.topic), partition: unsafe element.partition),
                    offset: unsafe element.offset,
                    metadata: unsafe text(element.metadata, count: element.metadata_size),
                    response: unsafe element.err))
        }
        return result
    }

    private static func text(_ bytes: UnsafeMutableRawPointer?, count: Int) -> String {
        guard let bytes = unsafe bytes, count > 0 else { return "" }
        return unsafe String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
