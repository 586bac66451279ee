// TopicsReader: the section `topics` of pipeline.yaml, and the names of the topics.

import EventContracts

struct TopicsReader {
    /// Kafka's limit on the length of a topic name.
    static let nameLengthMax = 249
    static let partitionsMax = 100_000

    private static let roles = required + optional
    private static let required = ["inputs", "events", "features", "predictions"]
    private static let optional = [
        "duplicates", "deadLetters", "labelInputs", "labels", "monitoring", "alerts", "retraining", "review", "models",
        "telemetry", "control",
    ]
    /// Joined by key through the whole pipeline, hence with equal partition counts.
    private static let coPartitioned = required + labelRoles
    private static let labelRoles = ["labelInputs", "labels"]
    /// Topics whose order matters to a reader that keeps one history of them.
    private static let single = ["monitoring", "alerts", "retraining", "review", "models", "control"]
    static let example = "{ partitions: 4, retention: 7d }"

    struct Setting {
        /// Nil when what is written there is a mistake of its own.
        var partitions: Int?
        /// Nil keeps everything.
        var retentionMilliseconds: Int64?
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
            let isKeyed = Self.required.contains(role)
            let found = isKeyed ? reader.required(role, example: Self.example) : reader.value(role)
            // Labels are keyed as the inputs that they belong to, unless the file says something else.
            let partitions = Self.labelRoles.contains(role) ? settings["inputs"]?.partitions : 1
            guard let found else {
                settings[role] = isKeyed ? nil : Self.fallback(role, partitions, at: node.position)
                continue
            }
            guard
                let topic = MappingReader(
                    found, path: "topics.\(role)", keys: ["partitions", "retention"], example: Self.example,
                    findings: findings)
            else { continue }
            let fallback = Self.fallback(role, partitions, at: found.position)
            let microseconds = topic.duration(
                "retention", default: fallback.retentionMilliseconds.map { $0 * 1_000 }, noneAllowed: true,
                from: "1s", to: "3650d")
            let most = Self.single.contains(role) ? 1 : Self.partitionsMax
            let written = topic.integer(
                "partitions", default: isKeyed ? nil : fallback.partitions ?? 1, in: 1...most, example: "4")
            let isSound = topic.node["partitions"].map { $0.integer == written && (1...most).contains(written) }
            settings[role] = Setting(
                partitions: (isSound ?? !isKeyed) ? written : nil,
                retentionMilliseconds: microseconds.map { $0 / 1_000 },
                position: topic.position(of: "partitions"), retentionPosition: topic.position(of: "retention"))
        }
        checkCoPartitioning(settings)
        return settings
    }

    private static func fallback(_ role: String, _ partitions: Int?, at position: Position) -> Setting {
        // What was decided, and the history of models, is evidence; heartbeats are worth nothing after an hour.
        let days: Double? =
            switch role {
            case "models", "control": nil
            case "alerts", "retraining", "review", "monitoring", "labels", "deadLetters": 30
            case "telemetry": 1.0 / 24
            default: 7
            }
        return Setting(
            partitions: partitions, retentionMilliseconds: days.map { Int64($0 * 86_400_000) }, position: position,
            retentionPosition: position)
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
                topic: topic, partitions: partitions, retentionMilliseconds: setting.retentionMilliseconds ?? -1)
        }
        let working = [
            setting("inputs", topics.inputs), setting("events", topics.events),
            setting("features", topics.features), setting("predictions", topics.predictions),
            setting("duplicates", topics.duplicates), setting("labelInputs", topics.labelInputs),
            setting("labels", topics.labels), setting("monitoring", topics.monitoring),
            setting("alerts", topics.alerts), setting("retraining", topics.retraining),
            setting("review", topics.review), setting("models", topics.models),
            setting("telemetry", topics.telemetry), setting("control", topics.control),
        ]
        let compacted = topics.compacted.map {
            TopicSetting(topic: $0, partitions: 1, retentionMilliseconds: -1, isCompacted: true)
        }
        let deadLetters = topics.withDeadLetters.map {
            setting("deadLetters", PipelineTopics.deadLetters(of: $0))
        }
        return working.compactMap(\.self) + compacted + deadLetters.compactMap(\.self)
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
