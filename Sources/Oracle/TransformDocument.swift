// TransformDocument: transform.json and the features it makes of an event, recomputed in Float64.

import Cryptography
import Foundation

/// The fitted transform, as docs/transforms.md describes the file.
public struct TransformDocument: Decodable, Sendable {
    public struct Impute: Decodable, Sendable {
        public var strategy: String
        public var value: Double?
    }

    public struct Outliers: Decodable, Sendable {
        public var policy: String
        public var lower: Double?
        public var upper: Double?
        public var lower_quantile: Double?
        public var upper_quantile: Double?
    }

    public struct Scale: Decodable, Sendable {
        public var kind: String
        public var offset: Double
        public var divisor: Double
    }

    public struct Feature: Decodable, Sendable {
        public var name: String
        public var field: String
        public var impute: Impute
        public var outliers: Outliers
        public var scale: Scale
    }

    public var version: Int
    public var event_schema: String
    public var contract: String
    public var features: [Feature]

    public static func read(path: String) throws -> TransformDocument {
        let document: TransformDocument
        do {
            document = try JSONDecoder().decode(
                TransformDocument.self, from: PipelineFacts.contents(of: URL(fileURLWithPath: path)))
        } catch let error as OracleError {
            throw error
        } catch {
            throw OracleError("\(path) is no transform document: \(error)")
        }
        guard document.contract == document.recomputedContract else {
            throw OracleError(
                "\(path) says contract \(document.contract), but its parameters give \(document.recomputedContract)")
        }
        return document
    }

    /// First word of the SHA-256 of the canonical text: JSON with sorted keys and no white space.
    var recomputedContract: String {
        func quote(_ text: String) -> String {
            var quoted = ""
            for scalar in text.unicodeScalars {
                if scalar == "\"" || scalar == "\\" {
                    quoted += "\\" + String(scalar)
                } else if scalar.value < 0x20 {
                    quoted += "\\u" + Bytes.hexadecimal(UInt64(scalar.value), width: 4)
                } else {
                    quoted += String(scalar)
                }
            }
            return "\"\(quoted)\""
        }
        func object(_ members: [String: String?]) -> String {
            let present = members.compactMapValues(\.self).sorted { $0.key < $1.key }
            return "{" + present.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",") + "}"
        }
        func number(_ value: Double?) -> String? { value.map { $0 == 0 ? "0.0" : "\($0)" } }
        let texts = features.map { feature in
            object([
                "field": quote(feature.field), "name": quote(feature.name), "type": "\"float32\"",
                "impute": object(["strategy": quote(feature.impute.strategy), "value": number(feature.impute.value)]),
                "outliers": object([
                    "lower": number(feature.outliers.lower), "lower_quantile": number(feature.outliers.lower_quantile),
                    "policy": quote(feature.outliers.policy), "upper": number(feature.outliers.upper),
                    "upper_quantile": number(feature.outliers.upper_quantile),
                ]),
                "scale": object([
                    "divisor": number(feature.scale.divisor), "kind": quote(feature.scale.kind),
                    "offset": number(feature.scale.offset),
                ]),
            ])
        }
        let text = object([
            "event_schema": quote(event_schema), "features": "[\(texts.joined(separator: ","))]",
            "version": "\(version)",
        ])
        return Bytes.hexadecimal(SHA256.digest(of: Array(text.utf8)).words.0)
    }

    /// What an event's features are, or the codes of the dead letter that it must become.
    struct Outcome {
        var values: [Double] = []
        var imputed = 0
        var outliers = 0
        var faults: Set<String> = []
    }

    /// Impute, then outliers, then scale; the model reads Float32.
    func apply(to numbers: [String: Double]) -> Outcome {
        var outcome = Outcome()
        for feature in features {
            var value = numbers[feature.field]
            if value == nil {
                value = feature.impute.value
                guard value != nil else {
                    outcome.faults.insert("missing_feature")
                    continue
                }
                outcome.imputed += 1
            }
            guard var number = value else { continue }
            if let lower = feature.outliers.lower, let upper = feature.outliers.upper, number < lower || number > upper
            {
                switch feature.outliers.policy {
                case "reject": outcome.faults.insert("outlier_rejected")
                case "clip":
                    outcome.outliers += 1
                    number = min(max(number, lower), upper)
                default: outcome.outliers += 1
                }
            }
            let scaled = Float((number - feature.scale.offset) / feature.scale.divisor)
            if !scaled.isFinite { outcome.faults.insert("not_finite") }
            outcome.values.append(Double(scaled))
        }
        return outcome
    }
}
