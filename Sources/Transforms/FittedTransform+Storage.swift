// FittedTransform+Storage: transform.json on disk, and the checks before it is used.

import FoundationEssentials
public import PipelineContract

extension FittedTransform {
    /// Bytes of transform.json; a longer file is none.
    public static let fileBytesMax = 64 << 20

    /// Reads transform.json and checks it against the pipeline.
    /// - Parameter path: nil takes the pipeline's own path.
    public static func load(for pipeline: Pipeline, path: String? = nil) throws(TransformError) -> FittedTransform {
        let path = path ?? pipeline.features.transformPath
        let mend = "run `penstock fit \(pipeline.directory)`"
        let bytes: [UInt8]
        do {
            bytes = try FileInput.contents(of: path, bytesMax: fileBytesMax)
        } catch {
            throw TransformError(error.code, "\(error.message); \(mend) to write it")
        }
        let transform = try decode(bytes, path: path, mend: mend)
        try transform.check(against: pipeline, path: path, mend: mend)
        return transform
    }

    /// Replaces the file at `path` atomically. A document of another pipeline is never overwritten.
    public func save(to path: String) throws(TransformError) {
        if let bytes = try AtomicFile.existing(path, bytesMax: Self.fileBytesMax) {
            let mend = "name another folder by --artifacts, or remove the file first"
            guard let other = try? JSONDecoder().decode(Owner.self, from: Data(bytes)) else {
                throw TransformError(.malformed, "\(path) exists and is no transform document: \(mend)")
            }
            guard other.pipeline == pipeline else {
                throw TransformError(
                    .pipelineMismatch, "\(path) belongs to the pipeline '\(other.pipeline)', not '\(pipeline)': \(mend)"
                )
            }
        }
        try AtomicFile.write(try encoded(), to: path)
    }

    private struct Owner: Decodable { var pipeline: String }

    /// Readable JSON with sorted keys.
    public func encoded() throws(TransformError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
        } catch {
            throw TransformError(.malformed, "the transform cannot be written as JSON: \(error)")
        }
    }

    /// Reads a document and checks what can be checked without the pipeline: version, finite numbers, contract hash.
    static func decode(_ json: [UInt8], path: String, mend: String) throws(TransformError) -> FittedTransform {
        struct Version: Decodable { var version: Int }
        let data = Data(json)
        if let found = try? JSONDecoder().decode(Version.self, from: data), found.version != version {
            throw TransformError(
                .unsupportedVersion,
                "\(path) has version \(found.version), this program reads version \(version): \(mend), or use the "
                    + "program that wrote it")
        }
        let transform: FittedTransform
        do {
            transform = try JSONDecoder().decode(FittedTransform.self, from: data)
        } catch {
            throw TransformError(.malformed, "\(path) is no transform document: \(Self.explain(error)); \(mend)")
        }
        for feature in transform.features {
            if let fault = feature.fault {
                throw TransformError(.malformed, "\(path), feature '\(feature.name)': \(fault); \(mend)")
            }
        }
        let hash = hexadecimal(transform.contractHash)
        guard transform.contract == hash else {
            throw TransformError(
                .hashMismatch,
                "\(path): the contract hash is \(transform.contract), but its parameters give \(hash): the file was "
                    + "changed by hand or damaged; \(mend)")
        }
        return transform
    }

    /// Every mismatch has its own message with the mend.
    public func check(against pipeline: Pipeline, path: String, mend: String) throws(TransformError) {
        guard self.pipeline == pipeline.name else {
            throw TransformError(
                .pipelineMismatch,
                "\(path) was fitted for the pipeline '\(self.pipeline)', not '\(pipeline.name)': name its own "
                    + "transform, or \(mend)")
        }
        let schemaHash = Self.hexadecimal(pipeline.input.schema.contractHash)
        guard eventSchema == schemaHash else {
            throw TransformError(
                .schemaMismatch,
                "\(path) was fitted for the event schema \(eventSchema), the pipeline's is \(schemaHash): \(mend)")
        }
        let names = pipeline.features.columns.map(\.name)
        guard featureNames == names else {
            throw TransformError(
                .featureMismatch,
                "\(path) has the features \(featureNames.joined(separator: ", ")); pipeline.yaml declares "
                    + "\(names.joined(separator: ", ")): \(mend)")
        }
        for (feature, column) in zip(features, pipeline.features.columns) {
            let fitted = feature.declaration
            let declared = column.declaration
            guard fitted != declared else { continue }
            throw TransformError(
                .featureMismatch,
                "\(path), feature '\(feature.name)': fitted as \(fitted), pipeline.yaml declares \(declared): \(mend)")
        }
    }

    private static func explain(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context, _ key: (any CodingKey)? = nil) -> String {
            (context.codingPath + (key.map { [$0] } ?? [])).map(\.stringValue).joined(separator: ".")
        }
        switch error as? DecodingError {
        case .keyNotFound(let key, let context): return "'\(place(context, key))' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "'\(place(context))' has the wrong type"
        case .dataCorrupted(let context) where !context.codingPath.isEmpty:
            return "'\(place(context))' has a value that is not known"
        default: return "it is not valid JSON"
        }
    }
}

extension FittedTransform.Feature {
    /// The settings of pipeline.yaml that the parameters were fitted for.
    var declaration: String {
        let constant = impute.strategy == .constant ? " \(impute.value.map { "\($0)" } ?? "")" : ""
        let bounds =
            outliers.lowerQuantile.flatMap { lower in outliers.upperQuantile.map { " \(lower)...\($0)" } } ?? ""
        return "field \(field), impute \(impute.strategy.rawValue)\(constant), outliers \(outliers.policy.rawValue)"
            + "\(bounds), scale \(scale.kind.rawValue)"
    }

    /// What is wrong with the parameters themselves.
    var fault: String? {
        if (impute.value == nil) != (impute.strategy == .reject) {
            return "impute \(impute.strategy.rawValue) \(impute.value == nil ? "needs a" : "takes no") value"
        }
        let bounds = [outliers.lower, outliers.upper, outliers.lowerQuantile, outliers.upperQuantile].compactMap { $0 }
        guard bounds.count == (outliers.policy == .none ? 0 : 4) else {
            return "outliers \(outliers.policy.rawValue) has \(bounds.count) of its numbers"
        }
        if let lower = outliers.lower, let upper = outliers.upper, lower > upper { return "the bounds are reversed" }
        guard scale.divisor > 0 else { return "the divisor of the scale is not positive" }
        return nil
    }
}

extension FeatureSettings.Column {
    /// The same form as a fitted feature's, for comparison and messages.
    fileprivate var declaration: String {
        let imputation =
            switch impute {
            case .mean: "mean"
            case .median: "median"
            case .constant(let value): "constant \(value)"
            case .reject: "reject"
            }
        let bounds = outlierPolicy == .none ? "" : " \(lowerQuantile)...\(upperQuantile)"
        return
            "field \(field), impute \(imputation), outliers \(outlierPolicy.rawValue)\(bounds), scale \(scale.rawValue)"
    }
}
