// ConfigurationHandle: owner of a C configuration until a client adopts it.

import CRdKafka

/// A librdkafka configuration, destroyed unless a client adopts it.
@safe struct ConfigurationHandle: ~Copyable {
    enum ClientKind {
        case consumer, producer
    }

    private let pointer: OpaquePointer?

    init() { unsafe pointer = rd_kafka_conf_new() }

    deinit { unsafe rd_kafka_conf_destroy(pointer) }

    func set(_ setting: KafkaConfiguration.Setting) throws(KafkaError) {
        let (result, text) = unsafe withErrorText { buffer, size in
            unsafe rd_kafka_conf_set(pointer, setting.name, setting.value, buffer, size)
        }
        guard result != RD_KAFKA_CONF_OK else { return }
        let reason =
            result == RD_KAFKA_CONF_UNKNOWN
            ? "librdkafka \(KafkaConfiguration.libraryVersion) has no such setting"
            : setting.isSecret ? "librdkafka does not accept the value" : text
        throw KafkaError(
            code: .invalidConfiguration, message: "Kafka setting '\(setting.name)': \(reason)", name: "_INVALID_ARG",
            number: RD_KAFKA_RESP_ERR__INVALID_ARG.rawValue)
    }

    func knows(_ name: String) -> Bool {
        var size = 0
        if unsafe rd_kafka_conf_get(pointer, name, nil, &size) == RD_KAFKA_CONF_OK { return true }
        // Topic settings can be set through the global configuration but are not read through it.
        let topic = unsafe rd_kafka_topic_conf_new()
        defer { unsafe rd_kafka_topic_conf_destroy(topic) }
        return unsafe rd_kafka_topic_conf_get(topic, name, nil, &size) == RD_KAFKA_CONF_OK
    }

    /// The effective value of a setting under any of its names; nil when it has none.
    func value(of name: String) -> String? {
        unsafe Self.read { buffer, size in unsafe rd_kafka_conf_get(pointer, name, buffer, &size) }
            ?? rd_kafka_conf_get_default_topic_conf(pointer).flatMap { topic in
                unsafe Self.read { buffer, size in unsafe rd_kafka_topic_conf_get(topic, name, buffer, &size) }
            }
    }

    /// Asks for a value's size first, then for the value.
    private static func read(
        _ get: (UnsafeMutablePointer<CChar>?, inout Int) -> rd_kafka_conf_res_t
    ) -> String? {
        var size = 0
        guard get(nil, &size) == RD_KAFKA_CONF_OK, size > 0 else { return nil }
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: size + 1) { buffer in
            unsafe buffer.initialize(repeating: 0)
            // The buffer holds the size asked for and starts zeroed, so the text ends inside it.
            guard let start = buffer.baseAddress, unsafe get(start, &size) == RD_KAFKA_CONF_OK else { return nil }
            return unsafe String(cString: start)
        }
    }

    func dump() -> [String: String] {
        var values: [String: String] = [:]
        var count = 0
        if let topic = unsafe rd_kafka_conf_get_default_topic_conf(pointer) {
            let list = unsafe rd_kafka_topic_conf_dump(topic, &count)
            unsafe Self.read(list, count: count, into: &values)
        }
        let list = unsafe rd_kafka_conf_dump(pointer, &count)
        unsafe Self.read(list, count: count, into: &values)
        return values
    }

    /// Reads name, value, name, value, … and frees the list.
    private static func read(
        _ list: UnsafeMutablePointer<UnsafePointer<CChar>?>?, count: Int, into values: inout [String: String]
    ) {
        guard let list = unsafe list else { return }
        for index in stride(from: 0, to: count - 1, by: 2) {
            guard let name = unsafe list[index], let value = unsafe list[index + 1] else { continue }
            unsafe values[String(cString: name)] = unsafe String(cString: value)
        }
        unsafe rd_kafka_conf_dump_free(list, count)
    }

    /// Makes a client which owns the configuration from then on.
    ///
    /// - Parameter events: `RD_KAFKA_EVENT_…` bits that shall arrive as events.
    consuming func makeClient(_ kind: ClientKind, events: Int32) throws(KafkaError) -> OpaquePointer {
        let type = kind == .consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER
        unsafe rd_kafka_conf_set_events(pointer, events)
        let (client, text) = unsafe withErrorText { buffer, size in
            unsafe rd_kafka_new(type, pointer, buffer, size)
        }
        guard let client = unsafe client else {
            let response = rd_kafka_last_error()
            _ = consume self
            throw KafkaError(
                code: .invalidConfiguration, message: "Cannot make a Kafka client: \(text)",
                name: unsafe String(cString: rd_kafka_err2name(response)), number: response.rawValue)
        }
        // rd_kafka_new took the configuration over: it must not be destroyed here as well.
        discard self
        return unsafe client
    }
}

/// Runs a call that may write an error text, and returns its result and the text.
func withErrorText<R>(_ body: (UnsafeMutablePointer<CChar>?, Int) -> R) -> (R, String) {
    let capacity = 512
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
        unsafe buffer.initialize(repeating: 0)
        let result = unsafe body(buffer.baseAddress, capacity)
        // The library always ends the text with a zero within `capacity`, and the buffer starts zeroed.
        return unsafe (result, buffer.baseAddress.map { unsafe String(cString: $0) } ?? "")
    }
}
