// Offsets: ListOffsets, OffsetForLeaderEpoch and DeleteRecords.

struct ListOffsetsRequest: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var leaderEpoch: Int32 = -1
        /// -1 the end, -2 the start, -3 the largest timestamp, else milliseconds.
        var timestamp: Int64 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            if coder.version >= 4 { try coder.int32(&leaderEpoch) }
            try coder.int64(&timestamp)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var replica: Int32 = -1
    var isolation: Int8 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&replica)
        if coder.version >= 2 { try coder.int8(&isolation) }
        try coder.array(&topics)
    }
}

struct ListOffsetsResponse: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var error = ProtocolError.none
        var timestamp: Int64 = -1
        var offset: Int64 = -1
        var leaderEpoch: Int32 = -1

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.error(&error)
            try coder.int64(&timestamp)
            try coder.int64(&offset)
            if coder.version >= 4 { try coder.int32(&leaderEpoch) }
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 2 { try coder.int32(&throttleMilliseconds) }
        try coder.array(&topics)
    }
}

struct OffsetForLeaderEpochRequest: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var currentEpoch: Int32 = -1
        var epoch: Int32 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.int32(&currentEpoch)
            try coder.int32(&epoch)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var replica: Int32 = -2
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 3 { try coder.int32(&replica) }
        try coder.array(&topics)
    }
}

struct OffsetForLeaderEpochResponse: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var error = ProtocolError.none
        var index: Int32 = 0
        var epoch: Int32 = -1
        var endOffset: Int64 = -1

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            try coder.int32(&index)
            try coder.int32(&epoch)
            try coder.int64(&endOffset)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}

struct DeleteRecordsRequest: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        /// -1 stands for the end.
        var offset: Int64 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.int64(&offset)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var topics: [Topic] = []
    var timeoutMilliseconds: Int32 = 0

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&topics)
        try coder.int32(&timeoutMilliseconds)
    }
}

struct DeleteRecordsResponse: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var lowWatermark: Int64 = -1
        var error = ProtocolError.none

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.int64(&lowWatermark)
            try coder.error(&error)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.array(&partitions)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}
