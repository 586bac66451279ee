// TopicConfigTests: settings are read, checked and given back.

import EmbeddedLog
import Testing

@Suite("Topic settings")
struct TopicConfigTests {
    @Test("Every known setting reads back what it was given")
    func roundTrip() throws {
        let settings = [
            "cleanup.policy": "compact,delete", "retention.ms": "-1", "retention.bytes": "4096",
            "segment.bytes": "2048", "segment.ms": "1000", "max.message.bytes": "100",
            "message.timestamp.type": "LogAppendTime", "min.cleanable.dirty.ratio": "0.25",
            "min.compaction.lag.ms": "7", "delete.retention.ms": "9", "message.timestamp.after.max.ms": "11",
            "message.timestamp.before.max.ms": "12", "compression.type": "producer", "min.insync.replicas": "1",
        ]
        let config = try TopicConfig(settings)
        for (name, value) in settings { #expect(config.value(of: name) == value, "\(name)") }
        #expect(TopicConfig.names.allSatisfy { config.value(of: $0) != nil })
    }

    @Test(
        "A wrong setting is refused by name",
        arguments: [
            ("cleanup.policy", "none"), ("cleanup.policy", ""), ("retention.ms", "-2"), ("segment.bytes", "1023"),
            ("segment.ms", "0"), ("message.timestamp.type", "createtime"), ("min.cleanable.dirty.ratio", "1.5"),
            ("max.message.bytes", "x"), ("compression.type", "gzip"), ("min.insync.replicas", "2"), ("no.such", "1"),
        ])
    func refused(name: String, value: String) {
        let error = #expect(throws: LogError.self) { try TopicConfig([name: value]) }
        #expect(error?.code == .invalidConfig)
        #expect(error?.message.contains(name) == true)
    }
}
