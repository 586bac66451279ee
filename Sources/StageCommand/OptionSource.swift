// OptionSource: one option from the command line or, failing that, from the environment.

import StageRuntime

/// An option with a fixed set of values.
protocol OptionChoice: RawRepresentable<String>, CaseIterable, Sendable {}

/// Looks options up and explains what is wrong with them.
struct OptionSource {
    enum Scope { case both, consumer, producer }

    let environment: [String: String]

    /// `health-port` -> `PENSTOCK_HEALTH_PORT`.
    static func variable(_ option: String) -> String {
        "PENSTOCK_" + option.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    }

    func value(_ option: String, _ given: String?) -> String? {
        let found = given ?? environment[Self.variable(option)]
        return found.flatMap { $0.isEmpty ? nil : $0 }
    }

    func required(_ option: String, _ given: String?) throws(StageFailure) -> String {
        guard let value = value(option, given) else {
            throw StageFailure(exitCode: 2, "--\(option) is missing: give it, or set \(Self.variable(option))")
        }
        return value
    }

    func choice<C: OptionChoice>(_ option: String, _ given: String?) throws(StageFailure) -> C? {
        guard let value = value(option, given) else { return nil }
        guard let choice = C(rawValue: value) else {
            throw Self.refused(option, value, "one of \(C.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return choice
    }

    func integer(_ option: String, _ given: Int?, in range: ClosedRange<Int>) throws(StageFailure) -> Int? {
        guard let text = value(option, given.map(String.init)) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw Self.refused(option, text, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// librdkafka's settings: first those of the environment (`PENSTOCK_KAFKA_SASL_PASSWORD`), then `--set`.
    func kafkaSettings(_ given: [String]) throws(StageFailure) -> [(Scope, String, String)] {
        let prefix = "PENSTOCK_KAFKA_"
        var settings: [(Scope, String, String)] = []
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix(prefix) {
            let name = variable.dropFirst(prefix.count).lowercased().map { $0 == "_" ? "." : String($0) }.joined()
            settings.append(Self.scoped(name, value))
        }
        for setting in given {
            guard let equals = setting.firstIndex(of: "="), setting.hasPrefix("kafka.") else {
                // Only the name: the value could be a secret.
                let name = setting.prefix { $0 != "=" }
                throw StageFailure(
                    exitCode: 2, "--set \(name): write it as kafka.<name>=<value>, with a name of librdkafka's settings"
                )
            }
            let name = String(setting[..<equals].dropFirst("kafka.".count))
            settings.append(Self.scoped(name, String(setting[setting.index(after: equals)...])))
        }
        return settings
    }

    private static func scoped(_ name: String, _ value: String) -> (Scope, String, String) {
        for (scope, prefix) in [(Scope.consumer, "consumer."), (.producer, "producer.")] where name.hasPrefix(prefix) {
            return (scope, String(name.dropFirst(prefix.count)), value)
        }
        return (.both, name, value)
    }

    private static func refused(_ option: String, _ value: String, _ expected: String) -> StageFailure {
        StageFailure(exitCode: 2, "--\(option) (or \(variable(option))) is \(value), expected \(expected)")
    }
}
