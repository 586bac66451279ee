// Configs: DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

struct DescribeConfigsRequest: WireStruct, Equatable {
    struct Resource: WireStruct, Equatable {
        var type: Int8 = 0
        var name = ""
        var keys: [String]?

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int8(&type)
            try coder.string(&name)
            try coder.nullableStrings(&keys)
        }
    }

    var resources: [Resource] = []
    var includesSynonyms = false
    var includesDocumentation = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&resources)
        try coder.bool(&includesSynonyms)
        if coder.version >= 3 { try coder.bool(&includesDocumentation) }
    }
}

struct DescribeConfigsResponse: WireStruct, Equatable {
    struct Resource: WireStruct, Equatable {
        struct Setting: WireStruct, Equatable {
            struct Synonym: WireStruct, Equatable {
                var name = ""
                var value: String?
                var source: Int8 = 0

                mutating func code(_ coder: inout WireCoder) throws(WireError) {
                    try coder.string(&name)
                    try coder.nullableString(&value)
                    try coder.int8(&source)
                }
            }

            var name = ""
            var value: String?
            var isReadOnly = false
            var source: Int8 = 0
            var isSensitive = false
            var synonyms: [Synonym] = []
            var type: Int8 = 0
            var documentation: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&name)
                try coder.nullableString(&value)
                try coder.bool(&isReadOnly)
                try coder.int8(&source)
                try coder.bool(&isSensitive)
                try coder.array(&synonyms)
                if coder.version >= 3 {
                    try coder.int8(&type)
                    try coder.nullableString(&documentation)
                }
            }
        }

        var error = ProtocolError.none
        var message: String?
        var type: Int8 = 0
        var name = ""
        var settings: [Setting] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            try coder.nullableString(&message)
            try coder.int8(&type)
            try coder.string(&name)
            try coder.array(&settings)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var resources: [Resource] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&resources)
    }
}

struct AlterConfigsRequest: WireStruct, Equatable {
    struct Resource: WireStruct, Equatable {
        struct Setting: WireStruct, Equatable {
            var name = ""
            var value: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&name)
                try coder.nullableString(&value)
            }
        }

        var type: Int8 = 0
        var name = ""
        var settings: [Setting] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int8(&type)
            try coder.string(&name)
            try coder.array(&settings)
        }
    }

    var resources: [Resource] = []
    var validatesOnly = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&resources)
        try coder.bool(&validatesOnly)
    }
}

struct IncrementalAlterConfigsRequest: WireStruct, Equatable {
    struct Resource: WireStruct, Equatable {
        struct Setting: WireStruct, Equatable {
            var name = ""
            /// 0 set, 1 delete, 2 append, 3 subtract.
            var operation: Int8 = 0
            var value: String?

            mutating func code(_ coder: inout WireCoder) throws(WireError) {
                try coder.string(&name)
                try coder.int8(&operation)
                try coder.nullableString(&value)
            }
        }

        var type: Int8 = 0
        var name = ""
        var settings: [Setting] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.int8(&type)
            try coder.string(&name)
            try coder.array(&settings)
        }
    }

    var resources: [Resource] = []
    var validatesOnly = false

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.array(&resources)
        try coder.bool(&validatesOnly)
    }
}

/// The answer to both requests that alter settings.
struct AlterConfigsResponse: WireStruct, Equatable {
    struct Resource: WireStruct, Equatable {
        var error = ProtocolError.none
        var message: String?
        var type: Int8 = 0
        var name = ""

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.error(&error)
            try coder.nullableString(&message)
            try coder.int8(&type)
            try coder.string(&name)
        }
    }

    var throttleMilliseconds: Int32 = 0
    var resources: [Resource] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&throttleMilliseconds)
        try coder.array(&resources)
    }
}
