// OffsetCommit: OffsetCommit, OffsetDelete and TxnOffsetCommit.

struct OffsetCommitRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Partition: WireStruct, Equatable {
            var index: Int32 = 0
            var offset: Int64 = 0
            var leaderEpoch: Int32 = -1
            var metadata: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32(&index)
                try coder.int64(&offset)
                if coder.version >= 6 { try coder.int32(&leaderEpoch) }
                try coder.nullableString(&metadata)
            }
        }

        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var groupID = ""
    var generation: Int32 = -1
    var memberID = ""
    var groupInstanceID: String?
    var retentionMilliseconds: Int64 = -1
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        try coder.int32(&generation)
        try coder.string(&memberID)
        if coder.version >= 7 { try coder.nullableString(&groupInstanceID) }
        if (2...4).contains(coder.version) { try coder.int64(&retentionMilliseconds) }
        try coder.array(&topics)
    }
}

struct OffsetCommitResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var topics: [TopicErrors] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 3 { try coder.int32(&throttleMilliseconds) }
        try coder.array(&topics)
    }
}

/// A topic with one error for each partition, as several responses carry it.
struct TopicErrors: WireStruct, Equatable {
    var name = ""
    var partitions: [PartitionError] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&name)
        try coder.array(&partitions)
    }
}

struct PartitionError: WireStruct, Equatable {
    var index: Int32 = 0
    var error = ProtocolError.none

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&index)
        try coder.error(&error)
    }
}

/// A topic with partition numbers, as several requests carry it.
struct TopicPartitions: WireStruct, Equatable {
    var name = ""
    var partitions: [Int32] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&name)
        try coder.int32s(&partitions)
    }
}

struct TransactionOffsetCommitRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Partition: WireStruct, Equatable {
            var index: Int32 = 0
            var offset: Int64 = 0
            var leaderEpoch: Int32 = -1
            var metadata: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32(&index)
                try coder.int64(&offset)
                if coder.version >= 2 { try coder.int32(&leaderEpoch) }
                try coder.nullableString(&metadata)
            }
        }

        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var transactionalID = ""
    var groupID = ""
    var producerID: Int64 = 0
    var producerEpoch: Int16 = 0
    var generation: Int32 = -1
    var memberID = ""
    var groupInstanceID: String?
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&transactionalID)
        try coder.string(&groupID)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
        if coder.version >= 3 {
            try coder.int32(&generation)
            try coder.string(&memberID)
            try coder.nullableString(&groupInstanceID)
        }
        try coder.array(&topics)
    }
}

struct TransactionOffsetCommitResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var topics: [TopicErrors] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}

struct OffsetDeleteRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Partition: WireStruct, Equatable {
            var index: Int32 = 0

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32(&index)
            }
        }

        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var groupID = ""
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        try coder.array(&topics)
    }
}

struct OffsetDeleteResponse: WireStruct, Equatable {
    var error = ProtocolError.none
    var throttleMilliseconds: Int32 = 0
    var topics: [TopicErrors] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.error(&error)
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}
