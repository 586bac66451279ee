// Metadata: the broker, the topics and their partitions.

struct MetadataRequest: WireStruct, Equatable {
    struct Topic: WireStruct, Equatable {
        var id = WireUUID.zero
        var name: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            if coder.version >= 10 {
                try coder.uuid(&id)
                try coder.nullableString(&name)
            } else {
                var text = name ?? ""
                try coder.string(&text)
                name = text
            }
        }
    }

    /// nil asks for all topics. (In version 0 an empty list does.)
    var topics: [Topic]?
    var allowsAutoCreation = true
    var includesClusterOperations = false
    var includesTopicOperations = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 {
            try coder.nullableArray(&topics)
        } else {
            var list = topics ?? []
            try coder.array(&list)
            topics = list.isEmpty ? nil : list
        }
        if coder.version >= 4 { try coder.bool(&allowsAutoCreation) }
        if (8...10).contains(coder.version) { try coder.bool(&includesClusterOperations) }
        if coder.version >= 8 { try coder.bool(&includesTopicOperations) }
    }
}

/// A broker as several responses name it.
struct WireBroker: WireStruct, Equatable {
    var nodeID: Int32 = 0
    var host = ""
    var port: Int32 = 0
    var rack: String?

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&nodeID)
        try coder.string(&host)
        try coder.int32(&port)
        // Version 0 of Metadata has no rack; no other response that lists brokers has a version without it.
        if coder.isFlexible || coder.version >= 1 { try coder.nullableString(&rack) }
    }
}

/// "Not asked for": the value of all fields for authorized operations.
let operationsUnknown = Int32.min

struct MetadataResponse: WireStruct, Equatable {
    struct Partition: WireStruct, Equatable {
        var error = ProtocolError.none
        var index: Int32 = 0
        var leader: Int32 = -1
        var leaderEpoch: Int32 = -1
        var replicas: [Int32] = []
        var inSync: [Int32] = []
        var offline: [Int32] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            try coder.int32(&index)
            try coder.int32(&leader)
            if coder.version >= 7 { try coder.int32(&leaderEpoch) }
            try coder.int32s(&replicas)
            try coder.int32s(&inSync)
            if coder.version >= 5 { try coder.int32s(&offline) }
        }
    }

    struct Topic: WireStruct, Equatable {
        var error = ProtocolError.none
        var name: String?
        var id = WireUUID.zero
        var isInternal = false
        var partitions: [Partition] = []
        var operations = operationsUnknown

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            if coder.version >= 12 {
                try coder.nullableString(&name)
            } else {
                var text = name ?? ""
                try coder.string(&text)
                name = text
            }
            if coder.version >= 10 { try coder.uuid(&id) }
            if coder.version >= 1 { try coder.bool(&isInternal) }
            try coder.array(&partitions)
            if coder.version >= 8 { try coder.int32(&operations) }
        }
    }

    var throttleMilliseconds: Int32 = 0
    var brokers: [WireBroker] = []
    var clusterID: String?
    var controller: Int32 = -1
    var topics: [Topic] = []
    var clusterOperations = operationsUnknown

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 3 { try coder.int32(&throttleMilliseconds) }
        try coder.array(&brokers)
        if coder.version >= 2 { try coder.nullableString(&clusterID) }
        if coder.version >= 1 { try coder.int32(&controller) }
        try coder.array(&topics)
        if (8...10).contains(coder.version) { try coder.int32(&clusterOperations) }
    }
}

struct DescribeClusterRequest: WireStruct, Equatable {
    var includesOperations = false
    var endpointType: Int8 = 1

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.bool(&includesOperations)
        if coder.version >= 1 { try coder.int8(&endpointType) }
    }
}

struct DescribeClusterResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var message: String?
    var endpointType: Int8 = 1
    var clusterID = ""
    var controller: Int32 = -1
    var brokers: [WireBroker] = []
    var operations = operationsUnknown

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.error(&error)
        try coder.nullableString(&message)
        if coder.version >= 1 { try coder.int8(&endpointType) }
        try coder.string(&clusterID)
        try coder.int32(&controller)
        try coder.array(&brokers)
        try coder.int32(&operations)
    }
}
