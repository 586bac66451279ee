// ApiVersions: which requests in which versions.

struct ApiVersionsRequest: WireStruct, Equatable {
    var softwareName = ""
    var softwareVersion = ""

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        guard coder.version >= 3 else { return }
        try coder.string(&softwareName)
        try coder.string(&softwareVersion)
    }
}

struct ApiVersionsResponse: WireStruct, Equatable {
    struct Range: WireStruct, Equatable {
        var key: Int16 = 0
        var minimum: Int16 = 0
        var maximum: Int16 = 0

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int16(&key)
            try coder.int16(&minimum)
            try coder.int16(&maximum)
        }
    }

    var error = ProtocolError.none
    var ranges: [Range] = []
    var throttleMilliseconds: Int32 = 0

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.error(&error)
        try coder.array(&ranges)
        if coder.version >= 1 { try coder.int32(&throttleMilliseconds) }
    }
}
