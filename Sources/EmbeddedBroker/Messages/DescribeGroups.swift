// DescribeGroups: DescribeGroups, ListGroups and DeleteGroups.

struct DescribeGroupsRequest: WireStruct, Equatable {
    var groups: [String] = []
    var includesOperations = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.strings(&groups)
        if coder.version >= 3 { try coder.bool(&includesOperations) }
    }
}

struct DescribeGroupsResponse: WireStruct, Equatable {
    struct Group: WireStruct, Equatable {
        struct Member: WireStruct, Equatable {
            var memberID = ""
            var groupInstanceID: String?
            var clientID = ""
            var clientHost = ""
            var metadata: [UInt8] = []
            var assignment: [UInt8] = []

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&memberID)
                if coder.version >= 4 { try coder.nullableString(&groupInstanceID) }
                try coder.string(&clientID)
                try coder.string(&clientHost)
                try coder.bytes(&metadata)
                try coder.bytes(&assignment)
            }
        }

        var error = ProtocolError.none
        var groupID = ""
        var state = ""
        var protocolType = ""
        var protocolName = ""
        var members: [Member] = []
        var operations: Int32 = operationsUnknown

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            try coder.string(&groupID)
            try coder.string(&state)
            try coder.string(&protocolType)
            try coder.string(&protocolName)
            try coder.array(&members)
            if coder.version >= 3 { try coder.int32(&operations) }
        }
    }

    var throttleMilliseconds: Int32 = 0
    var groups: [Group] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        try coder.array(&groups)
    }
}

struct ListGroupsRequest: WireStruct, Equatable {
    var states: [String] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 4 { try coder.strings(&states) }
    }
}

struct ListGroupsResponse: WireStruct, Equatable {
    struct Group: WireStruct, Equatable {
        var groupID = ""
        var protocolType = ""
        var state = ""

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&groupID)
            try coder.string(&protocolType)
            if coder.version >= 4 { try coder.string(&state) }
        }
    }

    var throttleMilliseconds: Int32 = 0
    var error = ProtocolError.none
    var groups: [Group] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
        try coder.error(&error)
        try coder.array(&groups)
    }
}

struct DeleteGroupsRequest: WireStruct, Equatable {
    var groups: [String] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.strings(&groups)
    }
}

struct DeleteGroupsResponse: WireStruct, Equatable {
    struct Result: WireStruct, Equatable {
        var groupID = ""
        var error = ProtocolError.none

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&groupID)
            try coder.error(&error)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var results: [Result] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&results)
    }
}
