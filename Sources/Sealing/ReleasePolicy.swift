// ReleasePolicy: typed conditions on claims, default deny, with a record of every comparison.

import Cryptography

/// A release policy: `{"version":"1","anyOf":[{"allOf":[{"claim":…,"equals":…}]}]}`. A key is released when all
/// conditions of one alternative hold. An unknown claim makes its condition false; an unknown operator refuses the policy.
public struct ReleasePolicy: Sendable {
    enum Operator: String, CaseIterable {
        case equals, notEquals, less, lessOrEquals, greater, greaterOrEquals, exists
        case isIn = "in"
    }

    struct Condition: Sendable {
        var claim: String
        var operation: Operator
        var operand: JSONValue
    }

    /// One comparison: which claim, what was expected, what there was.
    public struct Finding: Sendable, Equatable {
        public var claim: String
        public var expected: String
        public var got: String
        public var isMet: Bool

        public var json: JSONValue {
            [
                "claim": .string(claim), "expected": .string(expected), "got": .string(got), "met": .bool(isMet),
            ]
        }
    }

    public struct Decision: Sendable {
        public var isReleased: Bool
        public var findings: [Finding]
    }

    public static let bytesMax = 64 << 10
    public let canonical: [UInt8]
    private let alternatives: [[Condition]]

    /// SHA-256 of the canonical policy, 64 hexadecimal digits.
    public var sha256: String { SHA256.digest(of: canonical).hexadecimal }

    public init(canonical bytes: [UInt8]) throws(SealingError) {
        guard bytes.count <= Self.bytesMax else { throw SealingError(.policy, "a policy has at most 64 KiB") }
        try self.init(JSONValue(canonical: bytes, what: "the release policy"))
    }

    public init(_ value: JSONValue) throws(SealingError) {
        guard value["version"]?.string == "1", let members = value.object, Set(members.keys) == ["version", "anyOf"],
            let anyOf = value["anyOf"]?.array, (1...64).contains(anyOf.count)
        else { throw SealingError(.policy, "a policy is {\"version\":\"1\",\"anyOf\":[{\"allOf\":[…]}]}") }
        var alternatives: [[Condition]] = []
        for alternative in anyOf {
            guard let members = alternative.object, Set(members.keys) == ["allOf"],
                let conditions = alternative["allOf"]?.array, (1...64).contains(conditions.count)
            else { throw SealingError(.policy, "an alternative is {\"allOf\":[…]} with 1 to 64 conditions") }
            var result: [Condition] = []
            for condition in conditions { result.append(try Self.condition(condition)) }
            alternatives.append(result)
        }
        self.alternatives = alternatives
        canonical = value.canonical
    }

    private static func condition(_ value: JSONValue) throws(SealingError) -> Condition {
        guard let members = value.object, members.count == 2, let claim = value["claim"]?.string,
            let name = members.keys.first(where: { $0 != "claim" }), let operation = Operator(rawValue: name),
            let operand = members[name]
        else {
            throw SealingError(
                .policy,
                "a condition is {\"claim\":…,\"<operator>\":…} with one of "
                    + Operator.allCases.map(\.rawValue).joined(separator: ", "))
        }
        let fits: Bool =
            switch operation {
            case .equals, .notEquals: operand.array == nil && operand.object == nil
            case .less, .lessOrEquals, .greater, .greaterOrEquals: operand.integer != nil
            case .exists: operand.bool != nil
            case .isIn: operand.array.map { !$0.isEmpty } ?? false
            }
        guard fits else { throw SealingError(.policy, "\(claim): the operand of \(name) has the wrong type") }
        return Condition(claim: claim, operation: operation, operand: operand)
    }

    /// Decides on claims. The findings of the alternative that holds come back, or those of all when none does.
    public func decide(_ claims: [String: JSONValue]) -> Decision {
        var findings: [Finding] = []
        for conditions in alternatives {
            let own = conditions.map { Self.compare($0, claims[$0.claim]) }
            if own.allSatisfy(\.isMet) { return Decision(isReleased: true, findings: own) }
            findings += own
        }
        return Decision(isReleased: false, findings: findings)
    }

    private static func compare(_ condition: Condition, _ claim: JSONValue?) -> Finding {
        let isMet: Bool
        if condition.operation == .exists {
            isMet = (claim != nil) == (condition.operand.bool ?? true)
        } else if let claim {
            isMet = holds(condition, claim)
        } else {
            isMet = false
        }
        return Finding(
            claim: condition.claim, expected: "\(condition.operation.rawValue) \(condition.operand.canonicalText)",
            got: claim?.canonicalText ?? "(no such claim)", isMet: isMet)
    }

    /// Values of different types never compare: the text "true" is not true.
    private static func holds(_ condition: Condition, _ claim: JSONValue) -> Bool {
        switch condition.operation {
        case .equals: return claim == condition.operand
        case .notEquals: return sameType(claim, condition.operand) && claim != condition.operand
        case .isIn: return condition.operand.array?.contains(claim) ?? false
        case .exists: return true
        case .less, .lessOrEquals, .greater, .greaterOrEquals:
            guard let left = claim.integer, let right = condition.operand.integer else { return false }
            switch condition.operation {
            case .less: return left < right
            case .lessOrEquals: return left <= right
            case .greater: return left > right
            default: return left >= right
            }
        }
    }

    private static func sameType(_ left: JSONValue, _ right: JSONValue) -> Bool {
        switch (left, right) {
        case (.string, .string), (.integer, .integer), (.bool, .bool), (.null, .null): true
        default: false
        }
    }

    /// For development with the provider `sample`: any evidence of it, for the uses that the release document allows.
    public static func sample() throws(SealingError) -> ReleasePolicy {
        try ReleasePolicy(["version": "1", "anyOf": [["allOf": [["claim": "tee", "equals": "sample"]]]]])
    }
}
