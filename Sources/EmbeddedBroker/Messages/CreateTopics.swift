// CreateTopics: CreateTopics, DeleteTopics and CreatePartitions.

struct CreateTopicsRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Assignment: WireStruct, Equatable {
            var index: Int32 = 0
            var brokers: [Int32] = []

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32(&index)
                try coder.int32s(&brokers)
            }
        }

        struct Setting: WireStruct, Equatable {
            var name = ""
            var value: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&name)
                try coder.nullableString(&value)
            }
        }

        var name = ""
        var partitions: Int32 = 0
        var replication: Int16 = 0
        var assignments: [Assignment] = []
        var settings: [Setting] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.int32(&partitions)
            try coder.int16(&replication)
            try coder.array(&assignments)
            try coder.array(&settings)
        }
    }

    var topics: [Topic] = []
    var timeoutMilliseconds: Int32 = 0
    var validatesOnly = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&topics)
        try coder.int32(&timeoutMilliseconds)
        try coder.bool(&validatesOnly)
    }
}

struct CreateTopicsResponse: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Setting: WireStruct, Equatable {
            var name = ""
            var value: String?
            var isReadOnly = false
            var source: Int8 = 0
            var isSensitive = false

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&name)
                try coder.nullableString(&value)
                try coder.bool(&isReadOnly)
                try coder.int8(&source)
                try coder.bool(&isSensitive)
            }
        }

        var name = ""
        var id = WireUUID.zero
        var error = ProtocolError.none
        var message: String?
        var partitions: Int32 = -1
        var replication: Int16 = -1
        var settings: [Setting]?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            if coder.version >= 7 { try coder.uuid(&id) }
            try coder.error(&error)
            try coder.nullableString(&message)
            if coder.version >= 5 {
                try coder.int32(&partitions)
                try coder.int16(&replication)
                try coder.nullableArray(&settings)
            }
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}

struct DeleteTopicsRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        var name: String?
        var id = WireUUID.zero

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.nullableString(&name)
            try coder.uuid(&id)
        }
    }

    var topics: [Topic] = []
    var names: [String] = []
    var timeoutMilliseconds: Int32 = 0

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 6 { try coder.array(&topics) }
        if coder.version <= 5 { try coder.strings(&names) }
        try coder.int32(&timeoutMilliseconds)
    }
}

struct DeleteTopicsResponse: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        var name: String?
        var id = WireUUID.zero
        var error = ProtocolError.none
        var message: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.nullableString(&name)
            if coder.version >= 6 { try coder.uuid(&id) }
            try coder.error(&error)
            if coder.version >= 5 { try coder.nullableString(&message) }
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}

struct CreatePartitionsRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        struct Assignment: WireStruct, Equatable {
            var brokers: [Int32] = []

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.int32s(&brokers)
            }
        }

        var name = ""
        var count: Int32 = 0
        var assignments: [Assignment]?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.int32(&count)
            try coder.nullableArray(&assignments)
        }
    }

    var topics: [Topic] = []
    var timeoutMilliseconds: Int32 = 0
    var validatesOnly = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&topics)
        try coder.int32(&timeoutMilliseconds)
        try coder.bool(&validatesOnly)
    }
}

struct CreatePartitionsResponse: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        var name = ""
        var error = ProtocolError.none
        var message: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.error(&error)
            try coder.nullableString(&message)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var topics: [Topic] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&topics)
    }
}
