// TopicMetadata: a topic's name, identity and settings as the file `topic` of its directory.

/// What is saved of a topic.
struct TopicMetadata {
    var name: String
    var id: TopicID
    var partitions: Int
    var overrides: [String: String]

    static let fileName = "topic"
    private static let settingPrefix = "config."

    func encode() -> [UInt8] {
        var values = ["name": name, "id": id.description, "partitions": "\(partitions)"]
        for (setting, value) in overrides { values[Self.settingPrefix + setting] = value }
        return Properties.encode(values)
    }

    init(name: String, id: TopicID, partitions: Int, overrides: [String: String]) {
        self.name = name
        self.id = id
        self.partitions = partitions
        self.overrides = overrides
    }

    /// Nil if the file is damaged.
    init?(_ bytes: [UInt8]) {
        guard let values = Properties.decode(bytes), let name = values["name"],
            let id = values["id"].flatMap(TopicID.init(hexadecimal:)),
            let partitions = values["partitions"].flatMap({ Int($0) })
        else { return nil }
        var overrides: [String: String] = [:]
        for (key, value) in values where key.hasPrefix(Self.settingPrefix) {
            overrides[String(key.dropFirst(Self.settingPrefix.count))] = value
        }
        self.init(name: name, id: id, partitions: partitions, overrides: overrides)
    }

    /// The error for a name that Kafka would refuse; nil if it is valid.
    static func refusal(ofName name: String) -> LogError? {
        let isValid =
            (1...249).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
        guard !isValid else { return nil }
        return LogError(
            .invalidTopic, "topic name \"\(name)\": 1 to 249 letters, digits, '.', '_' or '-', and not '.' or '..'")
    }
}

extension TopicID {
    /// Reads ``description``.
    init?(hexadecimal text: String) {
        guard text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// A random identity; never zero, which means "none" in the protocol.
    static func random() -> TopicID { TopicID(high: .random(in: 1 ... .max), low: .random(in: 1 ... .max)) }
}
