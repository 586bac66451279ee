// JoinGroup: JoinGroup and SyncGroup.

struct JoinGroupRequest: WireStruct, Equatable {
    struct GroupProtocol: WireStruct, Equatable {
        var name = ""
        var metadata: [UInt8] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&name)
            try coder.bytes(&metadata)
        }
    }

    var groupID = ""
    var sessionTimeoutMilliseconds: Int32 = 0
    var rebalanceTimeoutMilliseconds: Int32 = -1
    var memberID = ""
    var groupInstanceID: String?
    var protocolType = ""
    var protocols: [GroupProtocol] = []
    var reason: String?

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        try coder.int32(&sessionTimeoutMilliseconds)
        if coder.version >= 1 { try coder.int32(&rebalanceTimeoutMilliseconds) }
        try coder.string(&memberID)
        if coder.version >= 5 { try coder.nullableString(&groupInstanceID) }
        try coder.string(&protocolType)
        try coder.array(&protocols)
        if coder.version >= 8 { try coder.nullableString(&reason) }
    }
}

struct JoinGroupResponse: WireStruct, Equatable {
    struct Member: WireStruct, Equatable {
        var memberID = ""
        var groupInstanceID: String?
        var metadata: [UInt8] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&memberID)
            if coder.version >= 5 { try coder.nullableString(&groupInstanceID) }
            try coder.bytes(&metadata)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var generation: Int32 = -1
    var protocolType: String?
    var protocolName: String?
    var leader = ""
    var skipsAssignment = false
    var memberID = ""
    var members: [Member] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 2 { try coder.int32(&throttleMilliseconds) }
        try coder.error(&error)
        try coder.int32(&generation)
        if coder.version >= 7 {
            try coder.nullableString(&protocolType)
            try coder.nullableString(&protocolName)
        } else {
            var name = protocolName ?? ""
            try coder.string(&name)
            protocolName = name
        }
        try coder.string(&leader)
        if coder.version >= 9 { try coder.bool(&skipsAssignment) }
        try coder.string(&memberID)
        try coder.array(&members)
    }
}

struct SyncGroupRequest: WireStruct, Equatable {
    struct Assignment: WireStruct, Equatable {
        var memberID = ""
        var assignment: [UInt8] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&memberID)
            try coder.bytes(&assignment)
        }
    }

    var groupID = ""
    var generation: Int32 = -1
    var memberID = ""
    var groupInstanceID: String?
    var protocolType: String?
    var protocolName: String?
    var assignments: [Assignment] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.string(&groupID)
        try coder.int32(&generation)
        try coder.string(&memberID)
        if coder.version >= 3 { try coder.nullableString(&groupInstanceID) }
        if coder.version >= 5 {
            try coder.nullableString(&protocolType)
            try coder.nullableString(&protocolName)
        }
        try coder.array(&assignments)
    }
}

struct SyncGroupResponse: WireStruct, Equatable {
    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var protocolType: String?
    var protocolName: String?
    var assignment: [UInt8] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        try coder.error(&error)
        if coder.version >= 5 {
            try coder.nullableString(&protocolType)
            try coder.nullableString(&protocolName)
        }
        try coder.bytes(&assignment)
    }
}
