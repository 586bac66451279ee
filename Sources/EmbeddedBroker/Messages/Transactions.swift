// Transactions: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn and EndTxn.

struct InitProducerIDRequest: WireStruct, Equatable {
    var transactionalID: String?
    var timeoutMilliseconds: Int32 = 0
    var producerID: Int64 = -1
    var producerEpoch: Int16 = -1

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.nullableString(&transactionalID)
        try coder.int32(&timeoutMilliseconds)
        if coder.version >= 3 {
            try coder.int64(&producerID)
            try coder.int16(&producerEpoch)
        }
    }
}

struct InitProducerIDResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var producerID: Int64 = -1
    var producerEpoch: Int16 = -1

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.error(&error)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
    }
}

struct AddPartitionsRequest: WireStruct, Equatable {
    var transactionalID = ""
    var producerID: Int64 = 0
    var producerEpoch: Int16 = 0
    var topics: [TopicPartitions] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&transactionalID)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
        try coder.array(&topics)
    }
}

struct AddPartitionsResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var topics: [TopicErrors] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}

struct AddOffsetsRequest: WireStruct, Equatable {
    var transactionalID = ""
    var producerID: Int64 = 0
    var producerEpoch: Int16 = 0
    var groupID = ""

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&transactionalID)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
        try coder.string(&groupID)
    }
}

struct AddOffsetsResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.error(&error)
    }
}

struct EndTransactionRequest: WireStruct, Equatable {
    var transactionalID = ""
    var producerID: Int64 = 0
    var producerEpoch: Int16 = 0
    var commits = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&transactionalID)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
        try coder.bool(&commits)
    }
}

struct EndTransactionResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.error(&error)
    }
}
