// KafkaConfiguration: librdkafka settings, checked one by one before a client is made.

import CRdKafka

/// Ordered client settings under librdkafka's own names. Each is checked by librdkafka when it is set, so a mistake is
/// reported with the setting's name before anything connects. A later value replaces an earlier one.
public struct KafkaConfiguration: Sendable {
    public struct Setting: Sendable, CustomStringConvertible {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }

        /// Whether the value must never be printed.
        public var isSecret: Bool { KafkaConfiguration.isSecret(name) }

        public var description: String { "\(name)=\(isSecret ? KafkaConfiguration.mask : value)" }
    }

    /// What stands in place of a secret.
    public static let mask = "[hidden]"

    public private(set) var settings: [Setting] = []

    public init() {}

    /// - Throws: `invalidConfiguration` naming the first setting that librdkafka does not accept.
    public init(settings: [Setting]) throws(KafkaError) {
        for setting in settings { try set(setting.name, setting.value) }
    }

    /// Sets a value, in place of an earlier one.
    /// - Throws: `invalidConfiguration` naming the setting.
    public mutating func set(_ name: String, _ value: String) throws(KafkaError) {
        let handle = ConfigurationHandle()
        try handle.set(Setting(name, value))
        // At the end, not in place: a setting and its alias (linger.ms, queue.buffering.max.ms) take effect in order.
        settings.removeAll { $0.name == name }
        settings.append(Setting(name, value))
    }

    /// Sets a value unless the setting already has one.
    public mutating func setDefault(_ name: String, _ value: String) throws(KafkaError) {
        guard self[name] == nil else { return }
        try set(name, value)
    }

    /// Sets a value where the linked library knows the setting; does nothing where it is too old.
    /// - Returns: whether the setting is known.
    @discardableResult
    public mutating func setIfKnown(_ name: String, _ value: String) throws(KafkaError) -> Bool {
        guard Self.isKnown(name) else { return false }
        try set(name, value)
        return true
    }

    /// Applies all settings of another configuration over these.
    public mutating func merge(_ other: KafkaConfiguration) throws(KafkaError) {
        for setting in other.settings { try set(setting.name, setting.value) }
    }

    public subscript(name: String) -> String? { settings.last { $0.name == name }?.value }

    /// Every setting of the linked library as these settings leave it, defaults included: name to effective value.
    /// Secrets are masked unless asked for.
    public func dump(revealingSecrets: Bool = false) throws(KafkaError) -> [String: String] {
        let handle = try makeHandle()
        var values = handle.dump()
        // The library lists aliases only under the name they stand for.
        for setting in settings { values[setting.name] = handle.value(of: setting.name) }
        guard !revealingSecrets else { return values }
        for name in values.keys where Self.isSecret(name) { values[name] = Self.mask }
        return values
    }

    /// Whether the linked librdkafka knows a setting of that name.
    public static func isKnown(_ name: String) -> Bool { ConfigurationHandle().knows(name) }

    /// Whether a setting holds a password, a private key or the like.
    public static func isSecret(_ name: String) -> Bool {
        let exact: Set<String> = [
            "ssl.key.pem", "ssl_key", "ssl.key.password", "ssl.keystore.password", "sasl.password",
            "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.id",
        ]
        let lower = name.lowercased()
        return exact.contains(lower) || lower.contains("password") || lower.contains("secret")
            || lower.contains("key.pem")
    }

    /// Version of the linked librdkafka, for instance `2.0.2`.
    public static var libraryVersion: String { unsafe String(cString: rd_kafka_version_str()) }

    func makeHandle() throws(KafkaError) -> ConfigurationHandle {
        let handle = ConfigurationHandle()
        for setting in settings { try handle.set(setting) }
        return handle
    }
}

extension KafkaConfiguration: CustomStringConvertible {
    public var description: String { settings.map(\.description).joined(separator: " ") }
}
