// TopicsReader: the section `topics` of pipeline.yaml, and the names of the topics.

import EventContracts

struct TopicsReader {
    /// Kafka's limit on the length of a topic name.
    static let nameLengthMax = 249
    static let partitionsMax = 100_000

    private static let roles = ["inputs", "events", "features", "predictions", "duplicates", "deadLetters"]
    /// Joined by key through the whole pipeline, hence with equal partition counts.
    private static let coPartitioned = ["inputs", "events", "features", "predictions"]
    static let example = "{ partitions: 4, retention: 7d }"

    struct Setting {
        /// Nil when what is written there is a mistake of its own.
        var partitions: Int?
        var retentionMilliseconds: Int64
        var position: Position
        var retentionPosition: Position
    }

    let findings: Findings

    /// Settings by role; a role with mistakes is left out.
    func settings(_ node: LocatedNode?) -> [String: Setting] {
        guard let node,
            let reader = MappingReader(
                node, path: "topics", keys: Self.roles, example: "inputs: \(Self.example) and so on", findings: findings
            )
        else { return [:] }
        var settings: [String: Setting] = [:]
        for role in Self.roles {
            let isKeyed = Self.coPartitioned.contains(role)
            let found = isKeyed ? reader.required(role, example: Self.example) : reader.value(role)
            guard let found else {
                settings[role] = isKeyed ? nil : Self.fallback(role, at: node.position)
                continue
            }
            guard
                let topic = MappingReader(
                    found, path: "topics.\(role)", keys: ["partitions", "retention"], example: Self.example,
                    findings: findings)
            else { continue }
            let fallback = Self.fallback(role, at: found.position)
            let microseconds = topic.duration(
                "retention", default: fallback.retentionMilliseconds * 1_000, noneAllowed: true, from: "1s", to: "3650d"
            )
            let partitions = topic.integer(
                "partitions", default: isKeyed ? nil : fallback.partitions, in: 1...Self.partitionsMax, example: "4")
            let isSound = topic.node["partitions"].map {
                $0.integer == partitions && (1...Self.partitionsMax).contains(partitions)
            }
            settings[role] = Setting(
                partitions: (isSound ?? !isKeyed) ? partitions : nil,
                retentionMilliseconds: microseconds.map { $0 / 1_000 } ?? -1,
                position: topic.position(of: "partitions"), retentionPosition: topic.position(of: "retention"))
        }
        checkCoPartitioning(settings)
        return settings
    }

    private static func fallback(_ role: String, at position: Position) -> Setting {
        let days: Int64 = role == "deadLetters" ? 30 : 7
        return Setting(
            partitions: 1, retentionMilliseconds: days * 86_400_000, position: position, retentionPosition: position)
    }

    private func checkCoPartitioning(_ settings: [String: Setting]) {
        guard let expected = settings["inputs"]?.partitions else { return }
        for role in Self.coPartitioned.dropFirst() {
            guard let setting = settings[role], let partitions = setting.partitions, partitions != expected else {
                continue
            }
            findings.error(
                .notCoPartitioned, at: setting.position,
                "`topics.\(role)` has \(partitions) partitions and `topics.inputs` \(expected): "
                    + "events of one key would lose their order",
                mend: "write `partitions: \(expected)`")
        }
    }

    /// The settings of every topic of the pipeline.
    func topicSettings(_ settings: [String: Setting], topics: PipelineTopics) -> [TopicSetting] {
        func setting(_ role: String, _ topic: String) -> TopicSetting? {
            guard let setting = settings[role], let partitions = setting.partitions else { return nil }
            return TopicSetting(
                topic: topic, partitions: partitions, retentionMilliseconds: setting.retentionMilliseconds)
        }
        let working = [
            setting("inputs", topics.inputs), setting("events", topics.events),
            setting("features", topics.features), setting("predictions", topics.predictions),
            setting("duplicates", topics.duplicates),
        ]
        let deadLetters = [topics.inputs, topics.events, topics.features, topics.predictions].map {
            setting("deadLetters", PipelineTopics.deadLetters(of: $0))
        }
        return (working + deadLetters).compactMap(\.self)
    }

    /// Checks one part of the topic names, `prefix` or `pipeline`.
    func checkNamePart(_ text: String, key: String, at position: Position) {
        let bad = text.unicodeScalars.first { scalar in
            !(scalar.isASCII && (Character(scalar).isLetter || Character(scalar).isNumber)) && scalar != "."
                && scalar != "_" && scalar != "-"
        }
        if let bad {
            findings.error(
                .badTopicName, at: position, "`\(key)` contains `\(bad)`, which topic names must not",
                mend: "use the letters a to z, digits, `-` and `.`")
        }
        if text.hasPrefix(".") || text.hasSuffix(".") || text.contains("..") {
            findings.error(
                .badTopicName, at: position, "`\(key)` begins, ends or repeats with a full stop",
                mend: "write words separated by single full stops")
        }
        if text.contains("_") {
            findings.warning(
                .ambiguousTopicName, at: position,
                "`\(key)` contains `_` and topic names contain `.`: Kafka's metric names make no difference between the two",
                mend: "write `\(text.split(separator: "_", omittingEmptySubsequences: false).joined(separator: "-"))`")
        }
    }

    func checkLength(_ topics: PipelineTopics, at position: Position) {
        guard let longest = topics.all.max(by: { $0.utf8.count < $1.utf8.count }) else { return }
        let excess = longest.utf8.count - Self.nameLengthMax
        guard excess > 0 else { return }
        findings.error(
            .badTopicName, at: position,
            "the topic name \(longest.prefix(40))… has \(longest.utf8.count) characters; Kafka allows \(Self.nameLengthMax)",
            mend: "shorten `pipeline` or `prefix` by \(excess) characters")
    }
}
