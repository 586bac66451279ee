// OffsetFetch: committed offsets.

struct OffsetFetchRequest: WireStruct, Equatable {
    struct Group: WireStruct, Equatable {
        var groupID = ""
        var memberID: String?
        var memberEpoch: Int32 = -1
        var topics: [TopicPartitions]?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&groupID)
            if coder.version >= 9 {
                try coder.nullableString(&memberID)
                try coder.int32(&memberEpoch)
            }
            try coder.nullableArray(&topics)
        }
    }

    var groupID = ""
    /// nil asks for all partitions the group has offsets of.
    var topics: [TopicPartitions]?
    var groups: [Group] = []
    var requiresStable = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version <= 7 {
            try coder.string(&groupID)
            try coder.nullableArray(&topics)
        }
        if coder.version >= 8 { try coder.array(&groups) }
        if coder.version >= 7 { try coder.bool(&requiresStable) }
    }
}

struct OffsetFetchResponse: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Partition: WireStruct, Equatable {
            var index: Int32 = 0
            var offset: Int64 = -1
            var leaderEpoch: Int32 = -1
            var metadata: String?
            var error = ProtocolError.none

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32(&index)
                try coder.int64(&offset)
                if coder.version >= 5 { try coder.int32(&leaderEpoch) }
                try coder.nullableString(&metadata)
                try coder.error(&error)
            }
        }

        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    struct Group: WireStruct, Equatable {
        var groupID = ""
        var topics: [Topic] = []
        var error = ProtocolError.none

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&groupID)
            try coder.array(&topics)
            try coder.error(&error)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []
    var error = ProtocolError.none
    var groups: [Group] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 3 { try coder.int32(&throttleMilliseconds) }
        if coder.version <= 7 { try coder.array(&topics) }
        if (2...7).contains(coder.version) { try coder.error(&error) }
        if coder.version >= 8 { try coder.array(&groups) }
    }
}
