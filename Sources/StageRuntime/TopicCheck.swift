// TopicCheck: the bounded wait for brokers and topics at start, and the one line that says what is missing.

package import Kafka

package enum TopicCheck {
    /// Waits until all topics exist.
    /// - Parameters:
    ///   - serve: serves the client's events for so many milliseconds, between two looks.
    ///   - list: asks the cluster for all its topics, within so many milliseconds.
    /// - Returns: false when a stop was requested meanwhile.
    /// - Throws: what is missing, where it was looked for, and what to check.
    package static func wait(
        for names: [String], servers: String, millisecondsMax: Int, isStopRequested: () -> Bool = { false },
        serve: (Int32) -> Void, list: (Int32) throws(KafkaError) -> [TopicDescription]
    ) throws(StageFailure) -> Bool {
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(millisecondsMax) * 1000
        var missing = names
        var lastError: KafkaError?
        repeat {
            do {
                let present = Set(try list(1000).filter { $0.partitionCount > 0 }.map(\.name))
                missing = names.filter { !present.contains($0) }
                lastError = nil
                guard !missing.isEmpty else { return true }
            } catch {
                lastError = error
                if error.code == .authentication || error.code == .authorization { break }
            }
            guard !isStopRequested() else { return false }
            serve(100)
        } while RuntimeClock.monotonicMicroseconds < deadline
        if let lastError {
            throw StageFailure(unreachable(servers: servers, error: lastError))
        }
        let quoted = missing.map { "'\($0)'" }.joined(separator: ", ")
        throw StageFailure(
            "The cluster at \(servers) has no topic \(quoted): create it, or check the pipeline's prefix and name")
    }

    private static func unreachable(servers: String, error: KafkaError) -> String {
        switch error.code {
        case .authentication:
            "The brokers at \(servers) refused the credentials: check sasl.* and ssl.* in the settings (\(error.message))"
        case .authorization:
            "The brokers at \(servers) do not allow this: grant DESCRIBE and READ or WRITE on the topics (\(error.message))"
        default:
            "No Kafka broker answers at \(servers): check that it runs, that the address and port are right and that "
                + "security.protocol fits (\(error.message))"
        }
    }
}
