// FeatureTransform: the one implementation of the transforms, for streaming, batch scoring and training.

public import EventContracts
public import PipelineContract

/// Why a row has no features.
public struct FeatureRejection: Sendable, Equatable {
    public enum Reason: Sendable, Equatable {
        /// The value is missing and `impute` is `reject`.
        case missing
        /// The value lies outside the fitted bounds and the outlier policy is `reject`.
        case outlier(value: Double, lower: Double, upper: Double)
        /// The transformed value does not fit a Float32.
        case notFinite(value: Double)
    }

    /// Row of the events or of the table.
    public var row: Int
    /// Index of the feature: the first one that rejects the row.
    public var feature: Int
    public var reason: Reason
}

/// A fitted transform, bound to the columns of its event schema. Applies impute, outlier policy and scale, in this
/// order, to each feature of each row; computes in Float64 and rounds once, to Float32.
public struct FeatureTransform: Sendable {
    /// Everything one feature needs, in one place of memory.
    private struct Step: Sendable {
        var column: Int
        /// NaN: a missing value rejects the row.
        var fill: Double
        var policy: FittedTransform.Outliers.Policy
        var lower: Double
        var upper: Double
        var offset: Double
        var divisor: Double
    }

    public let featureNames: [String]
    /// Feature contract hash of the records it makes.
    public let contractHash: UInt64
    /// Numeric fields of the event schema.
    public let numericCount: Int
    private let fields: [String]
    private let steps: [Step]

    public var featureCount: Int { steps.count }

    /// Binds a transform to the schema that it was fitted for (`FittedTransform.check` compares the two).
    public init(_ fitted: FittedTransform, schema: EventSchema) throws(TransformError) {
        let numeric = schema.numericFields
        var steps: [Step] = []
        for feature in fitted.features {
            guard let column = numeric.firstIndex(where: { $0.name == feature.field }) else {
                throw TransformError(
                    .schemaMismatch,
                    "feature '\(feature.name)' is made from '\(feature.field)', which is no numeric field of the event "
                        + "schema: run `penstock fit` again")
            }
            steps.append(
                Step(
                    column: column, fill: feature.impute.value ?? .nan, policy: feature.outliers.policy,
                    lower: feature.outliers.lower ?? -.infinity, upper: feature.outliers.upper ?? .infinity,
                    offset: feature.scale.offset, divisor: feature.scale.divisor))
        }
        self.steps = steps
        featureNames = fitted.featureNames
        fields = fitted.features.map(\.field)
        contractHash = fitted.contractHash
        numericCount = numeric.count
    }

    /// Loads, checks and binds the transform of a pipeline.
    /// - Parameter path: nil takes the pipeline's own path.
    public init(loadingFor pipeline: Pipeline, path: String? = nil) throws(TransformError) {
        try self.init(FittedTransform.load(for: pipeline, path: path), schema: pipeline.input.schema)
    }

    /// Columns of the right shape, to be kept and used again.
    public func makeColumns() -> FeatureColumns { FeatureColumns(featureCount: featureCount) }

    /// Appends the features of every row that no feature rejects, in order, with its source, prefix and identity as they
    /// came; every other row is appended to `rejections`.
    public func apply(
        _ events: EventColumns, into features: inout FeatureColumns, rejections: inout [FeatureRejection]
    ) {
        precondition(events.numericCount == numericCount, "events of another schema")
        reserve(events.rowCount, in: &features)
        for row in 0..<events.rowCount {
            if let rejection = transform(row, events.numeric, events.validity, into: &features) {
                rejections.append(rejection)
            } else {
                features.sources.append(events.sources[row])
                features.prefixes.append(events.prefixes[row])
                features.identities.append(events.identities[row])
            }
        }
    }

    /// The same for the rows of a table: sources are the table's rows; prefixes and identities stay empty.
    public func apply(
        _ table: ReferenceTable, into features: inout FeatureColumns, rejections: inout [FeatureRejection]
    ) {
        precondition(table.numericCount == numericCount, "a table of another schema")
        reserve(table.rowCount, in: &features)
        for row in 0..<table.rowCount {
            if let rejection = transform(row, table.numeric, table.validity, into: &features) {
                rejections.append(rejection)
            } else {
                features.sources.append(row)
            }
        }
    }

    private func reserve(_ rows: Int, in features: inout FeatureColumns) {
        precondition(features.featureCount == featureCount, "features of another contract")
        features.values.reserveCapacity(features.values.count + rows * featureCount)
        features.imputed.reserveCapacity(features.imputed.count + rows * featureCount)
        features.outliers.reserveCapacity(features.outliers.count + rows * featureCount)
    }

    /// Appends the values and flags of one row, or nothing when it is rejected.
    @inline(__always)
    private func transform(
        _ row: Int, _ numeric: [Double], _ validity: [UInt8], into features: inout FeatureColumns
    ) -> FeatureRejection? {
        let start = row * numericCount
        for index in steps.indices {
            let step = steps[index]
            let isMissing = validity[start + step.column] == 0
            var value = isMissing ? step.fill : numeric[start + step.column]
            if isMissing && value.isNaN { return reject(row, index, .missing, &features) }
            let isOutlier = value < step.lower || value > step.upper
            if isOutlier {
                switch step.policy {
                case .clip: value = value < step.lower ? step.lower : step.upper
                case .reject:
                    let reason = FeatureRejection.Reason.outlier(value: value, lower: step.lower, upper: step.upper)
                    return reject(row, index, reason, &features)
                case .none, .flag: break
                }
            }
            let result = Float((value - step.offset) / step.divisor)
            guard result.isFinite else { return reject(row, index, .notFinite(value: value), &features) }
            features.values.append(result)
            features.imputed.append(isMissing ? 1 : 0)
            features.outliers.append(isOutlier ? 1 : 0)
        }
        return nil
    }

    /// Takes back the `feature` values of the row that were appended already.
    private func reject(
        _ row: Int, _ feature: Int, _ reason: FeatureRejection.Reason, _ features: inout FeatureColumns
    ) -> FeatureRejection {
        features.values.removeLast(feature)
        features.imputed.removeLast(feature)
        features.outliers.removeLast(feature)
        return FeatureRejection(row: row, feature: feature, reason: reason)
    }
}

extension FeatureTransform {
    /// The dead letter's code.
    public func code(of rejection: FeatureRejection) -> ErrorCode {
        switch rejection.reason {
        case .missing: .missingFeature
        case .outlier: .outlierRejected
        case .notFinite: .notFinite
        }
    }

    /// One sentence with the feature, its value and the bounds.
    public func message(for rejection: FeatureRejection) -> String {
        let (name, field) = (featureNames[rejection.feature], fields[rejection.feature])
        let place = name == field ? "feature '\(name)'" : "feature '\(name)' (field '\(field)')"
        switch rejection.reason {
        case .missing:
            return "\(place): the value is missing and `impute` is reject; send the field, or choose an imputation in "
                + "pipeline.yaml and fit again"
        case .outlier(let value, let lower, let upper):
            return "\(place): the value \(value) lies outside the fitted bounds \(lower) ... \(upper) and the outlier "
                + "policy is reject; correct the value, or choose clip or flag in pipeline.yaml and fit again"
        case .notFinite(let value):
            return "\(place): the value \(value) does not fit a Float32 after scaling; correct the value, or limit the "
                + "field's range in the event schema"
        }
    }
}
