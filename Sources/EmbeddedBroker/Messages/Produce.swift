// Produce: record batches for partitions.

import NIOCore

struct ProduceRequest: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var records: ByteBuffer?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.records(&records)
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

    var transactionalID: String?
    var acks: Int16 = -1
    var timeoutMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.nullableString(&transactionalID)
        try coder.int16(&acks)
        try coder.int32(&timeoutMilliseconds)
        try coder.array(&topics)
    }
}

struct ProduceResponse: WireStruct, Equatable {
    struct RecordError: WireStruct, Equatable {
        var index: Int32 = 0
        var message: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.nullableString(&message)
        }
    }

    struct Partition: WireStruct, Equatable {
        var index: Int32 = 0
        var error = ProtocolError.none
        var baseOffset: Int64 = -1
        var appendTimeMilliseconds: Int64 = -1
        var startOffset: Int64 = -1
        var recordErrors: [RecordError] = []
        var message: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int32(&index)
            try coder.error(&error)
            try coder.int64(&baseOffset)
            try coder.int64(&appendTimeMilliseconds)
            if coder.version >= 5 { try coder.int64(&startOffset) }
            if coder.version >= 8 {
                try coder.array(&recordErrors)
                try coder.nullableString(&message)
            }
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
    var throttleMilliseconds: Int32 = 0

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&topics)
        try coder.int32(&throttleMilliseconds)
    }
}
