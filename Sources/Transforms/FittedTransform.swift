// FittedTransform: transform.json, the fitted parameters of a pipeline's features.

/// The fitted parameters of every feature, in the order of the model's input. Formulae: docs/transforms.md.
public struct FittedTransform: Codable, Sendable, Equatable {
    /// Version of the document and of the canonical text behind `contract`.
    public static let version = 1

    public struct Impute: Codable, Sendable, Equatable {
        public enum Strategy: String, Codable, Sendable { case mean, median, constant, reject }
        public var strategy: Strategy
        /// Stands in for a missing value; nil for `reject`.
        public var value: Double?
    }

    public struct Outliers: Codable, Sendable, Equatable {
        public enum Policy: String, Codable, Sendable { case none, clip, flag, reject }

        public var policy: Policy
        /// Probabilities of the bounds, and the bounds themselves; nil for `none`.
        public var lowerQuantile: Double?
        public var upperQuantile: Double?
        public var lower: Double?
        public var upper: Double?

        enum CodingKeys: String, CodingKey {
            case policy, lower, upper
            case lowerQuantile = "lower_quantile"
            case upperQuantile = "upper_quantile"
        }
    }

    /// `(x - offset) / divisor`.
    public struct Scale: Codable, Sendable, Equatable {
        public enum Kind: String, Codable, Sendable { case none, standard, minmax }
        public var kind: Kind
        /// Mean (`standard`), minimum (`minmax`) or 0.
        public var offset: Double
        /// Standard deviation (`standard`), maximum minus minimum (`minmax`) or 1; 1 for a constant feature.
        public var divisor: Double
    }

    public struct Feature: Codable, Sendable, Equatable {
        public var name: String
        /// Field of the event from which the feature is made.
        public var field: String
        public var impute: Impute
        public var outliers: Outliers
        public var scale: Scale
        public var reference: FeatureStatistics
    }

    /// The data behind the parameters.
    public struct Reference: Codable, Sendable, Equatable {
        public var rows: Int
        /// SHA-256 of the CSV file, in hexadecimal.
        public var sha256: String
    }

    public var version: Int
    public var pipeline: String
    /// Hash of the event schema, 16 hexadecimal digits.
    public var eventSchema: String
    /// Feature contract hash, 16 hexadecimal digits: `contractHash` of everything below but the statistics.
    public var contract: String
    public var reference: Reference
    public var features: [Feature]

    enum CodingKeys: String, CodingKey {
        case version, pipeline, contract, reference, features
        case eventSchema = "event_schema"
    }

    init(pipeline: String, eventSchemaHash: UInt64, reference: Reference, features: [Feature]) {
        version = Self.version
        self.pipeline = pipeline
        eventSchema = Self.hexadecimal(eventSchemaHash)
        contract = ""
        self.reference = reference
        self.features = features
        contract = Self.hexadecimal(contractHash)
    }

    public var featureNames: [String] { features.map(\.name) }

    static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
