// FittedTransform+Contract: the canonical text and the feature contract hash.

import Cryptography

extension FittedTransform {
    /// First word of the SHA-256 of `canonicalText`: travels in every `features` record and in the model's manifest.
    public var contractHash: UInt64 { SHA256.digest(of: Array(canonicalText.utf8)).words.0 }

    /// What two programs must agree on to exchange features: JSON with sorted keys and no white space, numbers as the
    /// shortest decimal text that reads back as the same Float64 (Swift's `Double.description`), absent values left out.
    /// The statistics of the reference are not part of it.
    ///
    /// `{"event_schema":"…","features":[{"field":"…","impute":{…},"name":"…","outliers":{…},"scale":{…},"type":
    /// "float32"},…],"version":1}`
    public var canonicalText: String {
        let members = features.map { feature in
            Self.object([
                ("field", Self.quoted(feature.field)),
                ("impute", Self.text(feature.impute)),
                ("name", Self.quoted(feature.name)),
                ("outliers", Self.text(feature.outliers)),
                ("scale", Self.text(feature.scale)),
                ("type", Self.quoted("float32")),
            ])
        }
        return Self.object([
            ("event_schema", Self.quoted(eventSchema)),
            ("features", "[\(members.joined(separator: ","))]"),
            ("version", "\(version)"),
        ])
    }

    private static func text(_ impute: Impute) -> String {
        object([("strategy", quoted(impute.strategy.rawValue)), ("value", number(impute.value))])
    }

    private static func text(_ outliers: Outliers) -> String {
        object([
            ("lower", number(outliers.lower)), ("lower_quantile", number(outliers.lowerQuantile)),
            ("policy", quoted(outliers.policy.rawValue)), ("upper", number(outliers.upper)),
            ("upper_quantile", number(outliers.upperQuantile)),
        ])
    }

    private static func text(_ scale: Scale) -> String {
        object([
            ("divisor", number(scale.divisor)), ("kind", quoted(scale.kind.rawValue)), ("offset", number(scale.offset)),
        ])
    }

    /// Keys come sorted; an absent value leaves its key out.
    private static func object(_ members: [(key: String, value: String?)]) -> String {
        let present = members.compactMap { member in member.value.map { "\"\(member.key)\":\($0)" } }
        return "{\(present.joined(separator: ","))}"
    }

    /// Negative zero is written as zero: the two give the same features.
    private static func number(_ value: Double?) -> String? { value.map { $0 == 0 ? "0.0" : $0.description } }

    /// A JSON string; only what RFC 8259 asks for is escaped, control characters as `\u00XX`.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
