// ModelEvent: one fact of the model registry, as `<p>.models` keeps it for ever. Layout: docs/formats.md.

import Foundation

/// What happened to a version of a model. The registry's state is nothing but the replay of these.
public struct ModelEvent: Sendable, Equatable, Codable {
    public enum Kind: String, Sendable, Codable, CaseIterable {
        /// A version exists and can be opened.
        case registered
        /// It was compared with the version in production on the same rows.
        case evaluated
        /// The gate, or a person with an approver's key, lets it into production.
        case approved
        case rejected
        /// It serves from now on.
        case promoted
        /// An earlier version serves again; `serial` names that earlier version.
        case rolledBack = "rolled_back"
        /// A retraining request ended without a candidate; `serial` is 0.
        case retrainingFailed = "retraining_failed"
    }

    /// Where the model's file stands and what it must be.
    public struct File: Sendable, Equatable, Codable {
        /// Path or URL of the sealed container, or of the manifest of an unsealed model.
        public var location: String
        /// SHA-256 of the sealed container, or of the ONNX file of an unsealed model; 64 hexadecimal digits.
        public var sha256: String
        public var bytes: Int
        public var isSealed: Bool

        public init(location: String, sha256: String, bytes: Int, isSealed: Bool) {
            self.location = location
            self.sha256 = sha256
            self.bytes = bytes
            self.isSealed = isSealed
        }

        enum CodingKeys: String, CodingKey {
            case location, sha256, bytes
            case isSealed = "sealed"
        }
    }

    /// The version that this one was made from.
    public struct Parent: Sendable, Equatable, Codable {
        public var version: String
        public var serial: UInt64
        public var sha256: String

        public init(version: String, serial: UInt64, sha256: String) {
            self.version = version
            self.serial = serial
            self.sha256 = sha256
        }
    }

    /// What a candidate was trained on; times in event time.
    public struct Training: Sendable, Equatable, Codable {
        public var algorithm: String
        public var seed: UInt64
        public var rows: Int
        public var from: String
        public var to: String

        public init(algorithm: String, seed: UInt64, rows: Int, from: String, to: String) {
            self.algorithm = algorithm
            self.seed = seed
            self.rows = rows
            self.from = from
            self.to = to
        }
    }

    /// Candidate and production on the same rows. Differences are candidate minus production for the AUC, production
    /// minus candidate for the log-loss, so that positive is better.
    public struct Comparison: Sendable, Equatable, Codable {
        public struct Side: Sendable, Equatable, Codable {
            /// Nil when the rows are of one class.
            public var rocAUC: Double?
            public var logLoss: Double
            public var accuracy: Double

            public init(rocAUC: Double?, logLoss: Double, accuracy: Double) {
                self.rocAUC = rocAUC
                self.logLoss = logLoss
                self.accuracy = accuracy
            }

            enum CodingKeys: String, CodingKey {
                case accuracy
                case rocAUC = "roc_auc"
                case logLoss = "log_loss"
            }
        }

        /// A difference with its paired confidence interval.
        public struct Difference: Sendable, Equatable, Codable {
            public var estimate: Double
            public var lower: Double
            public var upper: Double

            public init(estimate: Double, lower: Double, upper: Double) {
                self.estimate = estimate
                self.lower = lower
                self.upper = upper
            }
        }

        public var rows: Int
        public var from: String
        public var to: String
        /// Version that was in production when the two were compared.
        public var productionVersion: String
        public var candidate: Side
        public var production: Side
        /// Confidence of the intervals, such as 0.95.
        public var confidence: Double
        public var rocAUC: Difference?
        public var logLoss: Difference
        /// Shortest time of a batch of `latencyRows` rows, microseconds.
        public var candidateMicroseconds: Double
        public var productionMicroseconds: Double
        public var latencyRows: Int

        public init(
            rows: Int, from: String, to: String, productionVersion: String, candidate: Side, production: Side,
            confidence: Double, rocAUC: Difference?, logLoss: Difference, candidateMicroseconds: Double,
            productionMicroseconds: Double, latencyRows: Int
        ) {
            self.rows = rows
            self.from = from
            self.to = to
            self.productionVersion = productionVersion
            self.candidate = candidate
            self.production = production
            self.confidence = confidence
            self.rocAUC = rocAUC
            self.logLoss = logLoss
            self.candidateMicroseconds = candidateMicroseconds
            self.productionMicroseconds = productionMicroseconds
            self.latencyRows = latencyRows
        }

        enum CodingKeys: String, CodingKey {
            case rows, from, to, candidate, production, confidence
            case productionVersion = "production_version"
            case rocAUC = "roc_auc_difference"
            case logLoss = "log_loss_difference"
            case candidateMicroseconds = "candidate_us"
            case productionMicroseconds = "production_us"
            case latencyRows = "latency_rows"
        }
    }

    /// Who signed a decision that a person took: ES384 over `ModelEvent.signedBytes`.
    public struct Signature: Sendable, Equatable, Codable {
        public var keyID: String
        /// Base64.
        public var value: String

        public init(keyID: String, value: String) {
            self.keyID = keyID
            self.value = value
        }

        enum CodingKeys: String, CodingKey {
            case value
            case keyID = "key_id"
        }
    }

    /// Format of the record.
    public var v = 1
    public var type: Kind
    /// Names the fact, not the record: a fact written twice (after a crash) has the same id, and the second is ignored.
    public var id: String
    public var model: String
    public var version: String
    /// Rises by one with each version of a model; 0 in `retraining_failed`.
    public var serial: UInt64
    /// Wall clock, RFC 3339.
    public var time: String
    /// Event time up to which the decision looked, RFC 3339; nil for a person's.
    public var watermark: String?
    /// Program or person.
    public var actor: String
    /// One sentence.
    public var reason: String
    /// Retraining request that led to this version.
    public var request: String?
    public var file: File?
    public var parent: Parent?
    /// Feature contract hash, 16 hexadecimal digits.
    public var contract: String?
    public var training: Training?
    public var comparison: Comparison?
    public var signature: Signature?

    public init(
        type: Kind, id: String, model: String, version: String, serial: UInt64, time: String, watermark: String? = nil,
        actor: String, reason: String, request: String? = nil, file: File? = nil, parent: Parent? = nil,
        contract: String? = nil, training: Training? = nil, comparison: Comparison? = nil,
        signature: Signature? = nil
    ) {
        self.type = type
        self.id = id
        self.model = model
        self.version = version
        self.serial = serial
        self.time = time
        self.watermark = watermark
        self.actor = actor
        self.reason = reason
        self.request = request
        self.file = file
        self.parent = parent
        self.contract = contract
        self.training = training
        self.comparison = comparison
        self.signature = signature
    }

    /// One JSON object with sorted keys and no white space.
    public func encoded() -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else {
            // Only a number that JSON cannot say would fail; metrics are finite by construction.
            preconditionFailure("a model event holds a number that is not finite")
        }
        return Array(data)
    }

    /// - Throws: `malformedRecord` or `unsupportedFormatVersion`, with the field at fault.
    public static func decode(_ json: [UInt8]) throws(RecordFormatError) -> ModelEvent {
        let event: ModelEvent
        do {
            event = try JSONDecoder().decode(ModelEvent.self, from: Data(json))
        } catch {
            throw RecordFormatError(.malformedRecord, "the record is no model event: \(explanation(error))")
        }
        guard event.v == 1 else {
            throw RecordFormatError(
                .unsupportedFormatVersion,
                "the model event has format version \(event.v), this reader knows 1: upgrade the consumer")
        }
        return event
    }

    private static func explanation(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return "it cannot be decoded" }
        switch error {
        case .keyNotFound(let key, _): return "the field '\(key.stringValue)' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            let field = context.codingPath.map(\.stringValue).joined(separator: ".")
            return field.isEmpty ? "it is not valid JSON" : "the field '\(field)' has an unknown value"
        @unknown default: return "it cannot be decoded"
        }
    }

    /// What a person's signature covers: the whole event without the signature, as it is encoded.
    public var signedBytes: [UInt8] {
        var unsigned = self
        unsigned.signature = nil
        return Array("penstock:model-event:1\n".utf8) + unsigned.encoded()
    }
}
