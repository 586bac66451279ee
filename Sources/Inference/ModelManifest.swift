// ModelManifest: model.json, what a model is and what it may be fed with.

import Cryptography
import Foundation

/// The manifest that travels with an ONNX file. Written by `penstock train`, checked at every load.
public struct ModelManifest: Codable, Sendable, Equatable {
    /// How the model's outputs become a score and a label.
    public struct Outputs: Codable, Sendable, Equatable {
        /// Name of the float output with probabilities: `[N, classes]`, or `[N, 1]` / `[N]` for the positive class alone.
        public var score: String
        /// Name of the integer output with the predicted class; nil: taken from the scores.
        public var label: String?
        /// Class whose probability is the score of a binary classifier (column of a two-column score output); nil for more
        /// than two classes, where the score is the predicted class's probability.
        public var positiveClass: Int?

        public init(score: String, label: String? = nil, positiveClass: Int? = 1) {
            self.score = score
            self.label = label
            self.positiveClass = positiveClass
        }
    }

    /// How the model was made; the same training data, seed and version give the same model.
    public struct Training: Codable, Sendable, Equatable {
        public var algorithm: String
        public var seed: UInt64
        public var rows: Int
        /// Name or digest of the training data; no path.
        public var data: String

        public init(algorithm: String, seed: UInt64, rows: Int, data: String) {
            self.algorithm = algorithm
            self.seed = seed
            self.rows = rows
            self.data = data
        }
    }

    /// Version of this file's format.
    public var format: Int
    public var name: String
    public var version: String
    /// Feature contract hash, 16 lower-case hexadecimal digits.
    public var contract: String
    /// Feature names in the order of the model's input columns.
    public var features: [String]
    /// File name of the ONNX model, beside the manifest.
    public var onnx: String
    /// SHA-256 of the ONNX file, 64 lower-case hexadecimal digits.
    public var onnxSHA256: String
    public var outputs: Outputs
    /// Score at or above which a binary classifier says class 1.
    public var threshold: Double
    public var metrics: [String: Double]
    public var training: Training?

    public init(
        name: String, version: String, contract: UInt64, features: [String], onnx: String, onnxBytes: [UInt8],
        outputs: Outputs, threshold: Double = 0.5, metrics: [String: Double] = [:], training: Training? = nil
    ) {
        format = 1
        self.name = name
        self.version = version
        self.contract = Self.hexadecimal(contract)
        self.features = features
        self.onnx = onnx
        onnxSHA256 = SHA256.digest(of: onnxBytes).hexadecimal
        self.outputs = outputs
        self.threshold = threshold
        self.metrics = metrics
        self.training = training
    }

    /// The contract hash as a number, or nil when the text is not 16 hexadecimal digits.
    public var contractHash: UInt64? {
        guard contract.utf8.count == 16, contract.utf8.allSatisfy({ Self.isHexDigit($0) }) else { return nil }
        return UInt64(contract, radix: 16)
    }

    static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
    }

    /// Stable, readable JSON: sorted keys, one per line.
    public func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [0x0a]
    }

    /// Reads a manifest and checks every field that does not need the model.
    public static func decode(_ json: [UInt8], path: String) throws -> ModelManifest {
        let manifest: ModelManifest
        do {
            manifest = try JSONDecoder().decode(ModelManifest.self, from: Data(json))
        } catch let error as DecodingError {
            throw ModelLoadError(.badManifest, "\(path): not a model manifest: \(Self.explain(error))")
        }
        try manifest.validate(path: path)
        return manifest
    }

    private func validate(path: String) throws {
        func require(_ condition: Bool, _ message: String) throws {
            guard condition else { throw ModelLoadError(.badManifest, "\(path): \(message)") }
        }
        try require(format == 1, "manifest format \(format) is unknown, this program reads format 1: upgrade it")
        try require(!name.isEmpty && !version.isEmpty, "name and version must not be empty")
        try require(contractHash != nil, "contract '\(contract)' is not 16 lower-case hexadecimal digits")
        try require(!features.isEmpty, "features is empty")
        try require(Set(features).count == features.count, "features names one feature twice")
        try require(
            !onnx.isEmpty && !onnx.contains("/") && onnx != "..", "onnx must be a file name beside the manifest")
        try require(onnxSHA256.utf8.count == 64, "onnxSHA256 is not 64 hexadecimal digits")
        try require(threshold.isFinite, "threshold is not a finite number")
        try require(outputs.positiveClass.map { $0 == 0 || $0 == 1 } ?? true, "outputs.positiveClass must be 0 or 1")
    }

    private static func explain(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            context.codingPath.map(\.stringValue).joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context):
            let parent = place(context)
            return "the field '\(parent.isEmpty ? "" : parent + ".")\(key.stringValue)' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "the field '\(place(context))' has the wrong type"
        case .dataCorrupted: return "it is not valid JSON"
        @unknown default: return "it cannot be decoded"
        }
    }
}
