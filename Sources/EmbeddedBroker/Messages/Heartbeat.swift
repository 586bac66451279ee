// Heartbeat: Heartbeat and LeaveGroup.

struct HeartbeatRequest: WireStruct, Equatable {
    var groupID = ""
    var generation: Int32 = -1
    var memberID = ""
    var groupInstanceID: String?

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        try coder.int32(&generation)
        try coder.string(&memberID)
        if coder.version >= 3 { try coder.nullableString(&groupInstanceID) }
    }
}

struct HeartbeatResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        try coder.error(&error)
    }
}

struct LeaveGroupRequest: WireStruct, Equatable {
    struct Member: WireStruct, Equatable {
        var memberID = ""
        var groupInstanceID: String?
        var reason: String?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&memberID)
            try coder.nullableString(&groupInstanceID)
            if coder.version >= 5 { try coder.nullableString(&reason) }
        }
    }

    var groupID = ""
    var memberID = ""
    var members: [Member] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        if coder.version <= 2 { try coder.string(&memberID) }
        if coder.version >= 3 { try coder.array(&members) }
    }
}

struct LeaveGroupResponse: WireStruct, Equatable {
    struct Member: WireStruct, Equatable {
        var memberID = ""
        var groupInstanceID: String?
        var error = ProtocolError.none

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&memberID)
            try coder.nullableString(&groupInstanceID)
            try coder.error(&error)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var members: [Member] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        try coder.error(&error)
        if coder.version >= 3 { try coder.array(&members) }
    }
}
