// FindCoordinator: which broker keeps a group or a transactional id. (There is only one.)

struct FindCoordinatorRequest: WireStruct, Equatable {
    var key = ""
    /// 0 a group, 1 a transactional id.
    var keyType: Int8 = 0
    var keys: [String] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version <= 3 { try coder.string(&key) }
        if coder.version >= 1 { try coder.int8(&keyType) }
        if coder.version >= 4 { try coder.strings(&keys) }
    }
}

struct FindCoordinatorResponse: WireStruct, Equatable {
    struct Coordinator: WireStruct, Equatable {
        var key = ""
        var nodeID: Int32 = -1
        var host = ""
        var port: Int32 = -1
        var error = ProtocolError.none
        var message: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&key)
            try coder.int32(&nodeID)
            try coder.string(&host)
            try coder.int32(&port)
            try coder.error(&error)
            try coder.nullableString(&message)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var message: String?
    var nodeID: Int32 = -1
    var host = ""
    var port: Int32 = -1
    var coordinators: [Coordinator] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        if coder.version <= 3 { try coder.error(&error) }
        if (1...3).contains(coder.version) { try coder.nullableString(&message) }
        if coder.version <= 3 {
            try coder.int32(&nodeID)
            try coder.string(&host)
            try coder.int32(&port)
        }
        if coder.version >= 4 { try coder.array(&coordinators) }
    }
}
