// ConfigurationTests: settings are checked one by one, kept whole, and secrets stay hidden.

import Kafka
import Testing

@Suite("Kafka configuration")
struct ConfigurationTests {
    @Test("Every setting that is passed shows in the dump")
    func roundTrip() throws {
        let settings: [KafkaConfiguration.Setting] = [
            .init("bootstrap.servers", "broker-1:9092,broker-2:9092"),
            .init("client.id", "round-trip"),
            .init("group.id", "a group"),
            .init("group.instance.id", "slot-3"),
            .init("enable.auto.commit", "false"),
            .init("enable.auto.offset.store", "false"),
            .init("auto.offset.reset", "error"),
            .init("partition.assignment.strategy", "cooperative-sticky"),
            .init("session.timeout.ms", "7001"),
            .init("max.poll.interval.ms", "300001"),
            .init("queued.min.messages", "12345"),
            .init("queued.max.messages.kbytes", "54321"),
            .init("fetch.wait.max.ms", "77"),
            .init("isolation.level", "read_committed"),
            .init("linger.ms", "3"),
            .init("partitioner", "murmur2_random"),
            .init("request.required.acks", "-1"),
            .init("compression.codec", "lz4"),
            .init("message.timeout.ms", "99999"),
            .init("statistics.interval.ms", "1234"),
            .init("security.protocol", "sasl_ssl"),
            .init("sasl.mechanisms", "SCRAM-SHA-256"),
            .init("sasl.username", "penstock"),
            .init("sasl.password", "correct horse"),
            .init("ssl.ca.location", "/etc/ssl/certs/ca-certificates.crt"),
        ]
        let dump = try KafkaConfiguration(settings: settings).dump(revealingSecrets: true)
        for setting in settings {
            #expect(dump[setting.name] == setting.value, "\(setting.name)")
        }
    }

    @Test("The defaults of consumers and producers are accepted and show in the dump")
    func defaults() throws {
        let consumer = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: "localhost:9092", group: "g", clientID: "c")
        let producer = try KafkaConfiguration.producerDefaults(bootstrapServers: "localhost:9092", clientID: "p")
        for configuration in [consumer, producer] {
            let dump = try configuration.dump(revealingSecrets: true)
            for setting in configuration.settings {
                #expect(dump[setting.name] == setting.value, "\(setting.name)")
            }
        }
        #expect(consumer["auto.offset.reset"] == "error")
        #expect(producer["partitioner"] == "murmur2_random")
    }

    @Test("An unknown setting is refused by name")
    func unknownSetting() {
        let error = #expect(throws: KafkaError.self) {
            try KafkaConfiguration(settings: [.init("linger.mss", "1")])
        }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("'linger.mss'") == true)
        #expect(error?.isRetriable == false)
    }

    @Test("A bad value is refused with the setting's name and the reason")
    func badValue() {
        let error = #expect(throws: KafkaError.self) {
            try KafkaConfiguration(settings: [.init("session.timeout.ms", "soon")])
        }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("'session.timeout.ms'") == true)
    }

    @Test("Settings that contradict each other are refused when the client is made")
    func contradiction() throws {
        let configuration = try KafkaConfiguration(settings: [
            .init("enable.idempotence", "true"), .init("acks", "1"),
        ])
        let error = #expect(throws: KafkaError.self) { try Producer(configuration: configuration) }
        #expect(error?.code == .invalidConfiguration)
    }

    @Test("Secrets never show in a description, an error or the default dump")
    func secrets() throws {
        let configuration = try KafkaConfiguration(settings: [
            .init("sasl.username", "penstock"), .init("sasl.password", "hunter2"),
            .init("ssl.key.password", "hunter3"), .init("client.id", "visible"),
        ])
        let texts = [
            configuration.description, "\(configuration.settings)", String(describing: configuration),
            "\(try configuration.dump())",
        ]
        for text in texts { #expect(!text.contains("hunter")) }
        #expect(configuration.description.contains("client.id=visible"))
        #expect(try configuration.dump(revealingSecrets: true)["sasl.password"] == "hunter2")
        for name in ["sasl.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret"] {
            #expect(KafkaConfiguration.isSecret(name))
        }
        #expect(!KafkaConfiguration.isSecret("sasl.username"))
    }

    @Test("A later value replaces an earlier one, a default does not")
    func order() throws {
        var configuration = try KafkaConfiguration(settings: [
            .init("linger.ms", "1"), .init("client.id", "a"), .init("linger.ms", "2"),
        ])
        try configuration.setDefault("client.id", "b")
        try configuration.merge(KafkaConfiguration(settings: [.init("acks", "all")]))
        #expect(configuration.settings.map(\.name) == ["client.id", "linger.ms", "acks"])
        #expect(configuration["linger.ms"] == "2")
        #expect(configuration["client.id"] == "a")
    }

    @Test("A setting the linked library lacks is left out when asked so")
    func settingsOfOtherVersions() throws {
        var configuration = KafkaConfiguration()
        #expect(try configuration.setIfKnown("no.such.setting", "1") == false)
        #expect(try configuration.setIfKnown("linger.ms", "1"))
        #expect(try configuration.setIfKnown("auto.offset.reset", "error"), "a topic setting is known too")
        #expect(configuration.settings.count == 2)
    }
}
