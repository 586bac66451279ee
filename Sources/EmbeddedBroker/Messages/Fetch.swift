// Fetch: record batches from partitions.

import NIOCore

struct FetchRequest: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var leaderEpoch: Int32 = -1
        var offset: Int64 = 0
        var lastFetchedEpoch: Int32 = -1
        var startOffset: Int64 = -1
        var bytesMax: Int32 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            if coder.version >= 9 { try coder.int32(&leaderEpoch) }
            try coder.int64(&offset)
            if coder.version >= 12 { try coder.int32(&lastFetchedEpoch) }
            if coder.version >= 5 { try coder.int64(&startOffset) }
            try coder.int32(&bytesMax)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var id = WireUUID.zero
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            if coder.version >= 13 { try coder.uuid(&id) } else { try coder.string(&name) }
            try coder.array(&partitions)
        }
    }

    struct ForgottenTopic: WireStruct, Equatable {
        var name = ""
        var id = WireUUID.zero
        var partitions: [Int32] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            if coder.version >= 13 { try coder.uuid(&id) } else { try coder.string(&name) }
            try coder.int32s(&partitions)
        }
    }

    var replica: Int32 = -1
    var waitMillisecondsMax: Int32 = 0
    var bytesMin: Int32 = 0
    var bytesMax: Int32 = 0
    /// 1 reads committed records only.
    var isolation: Int8 = 0
    var sessionID: Int32 = 0
    var sessionEpoch: Int32 = -1
    var topics: [Topic] = []
    var forgotten: [ForgottenTopic] = []
    var rack = ""

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version <= 14 { try coder.int32(&replica) }
        try coder.int32(&waitMillisecondsMax)
        try coder.int32(&bytesMin)
        try coder.int32(&bytesMax)
        try coder.int8(&isolation)
        if coder.version >= 7 {
            try coder.int32(&sessionID)
            try coder.int32(&sessionEpoch)
        }
        try coder.array(&topics)
        if coder.version >= 7 { try coder.array(&forgotten) }
        if coder.version >= 11 { try coder.string(&rack) }
    }
}

struct FetchResponse: WireStruct, Equatable {
    struct Aborted: WireStruct, Equatable {
        var producerID: Int64 = 0
        var firstOffset: Int64 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int64(&producerID)
            try coder.int64(&firstOffset)
        }
    }

    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var error = ProtocolError.none
        var highWatermark: Int64 = -1
        var lastStableOffset: Int64 = -1
        var startOffset: Int64 = -1
        /// nil for readers of uncommitted records.
        var aborted: [Aborted]?
        var preferredReplica: Int32 = -1
        /// Empty, not nil, when there is nothing to read or an error is told: librdkafka takes an absent record set for a
        /// malformed response (`invalid MessageSetSize -1`).
        var records: ByteBuffer? = ByteBuffer()

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.error(&error)
            try coder.int64(&highWatermark)
            try coder.int64(&lastStableOffset)
            if coder.version >= 5 { try coder.int64(&startOffset) }
            try coder.nullableArray(&aborted)
            if coder.version >= 11 { try coder.int32(&preferredReplica) }
            try coder.records(&records)
        }
    }

    struct Topic: WireStruct, Equatable {
        var name = ""
        var id = WireUUID.zero
        var partitions: [Partition] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            if coder.version >= 13 { try coder.uuid(&id) } else { try coder.string(&name) }
            try coder.array(&partitions)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var sessionID: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        if coder.version >= 7 {
            try coder.error(&error)
            try coder.int32(&sessionID)
        }
        try coder.array(&topics)
    }
}
