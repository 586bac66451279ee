// TransformFitter: fits the parameters that pipeline.yaml declares on reference rows.

import Cryptography
public import PipelineContract

/// Fits each feature on its own, in the order in which the parameters apply: the imputed value from the values present,
/// the outlier bounds from the values present, the scale from all values after imputation and outlier policy.
/// Formulae: docs/transforms.md.
public enum TransformFitter {
    /// A fitted transform and what a person should know about it.
    public struct Fit: Sendable {
        public var transform: FittedTransform
        /// One sentence each.
        public var warnings: [String]
    }

    public static func fit(_ table: ReferenceTable, for pipeline: Pipeline) throws(TransformError) -> Fit {
        let columns = Dictionary(
            uniqueKeysWithValues: pipeline.input.schema.numericFields.enumerated().map { ($1.name, $0) })
        var features: [FittedTransform.Feature] = []
        var warnings: [String] = []
        for settings in pipeline.features.columns {
            guard let column = columns[settings.field] else {
                throw TransformError(
                    .cannotFit,
                    "feature '\(settings.name)' is made from '\(settings.field)', which is no numeric field of the event "
                        + "schema: correct pipeline.yaml (`penstock lint` shows the line)")
            }
            let (feature, remarks) = try fit(settings, on: table, column: column)
            features.append(feature)
            warnings += remarks.map { "feature '\(settings.name)': \($0)" }
        }
        let transform = FittedTransform(
            pipeline: pipeline.name, eventSchemaHash: pipeline.input.schema.contractHash,
            reference: .init(rows: table.rowCount, sha256: table.digest.hexadecimal), features: features)
        return Fit(transform: transform, warnings: warnings)
    }

    private static func fit(
        _ settings: FeatureSettings.Column, on table: ReferenceTable, column: Int
    ) throws(TransformError) -> (FittedTransform.Feature, [String]) {
        var values: [Double] = []
        for row in 0..<table.rowCount where table.validity[row * table.numericCount + column] != 0 {
            values.append(table.numeric[row * table.numericCount + column])
        }
        guard !values.isEmpty else {
            throw TransformError(
                .cannotFit,
                "feature '\(settings.name)': \(table.path) has no value in the column '\(settings.field)': name "
                    + "reference data that has some, or remove the feature")
        }
        let missing = table.rowCount - values.count
        values.sort()
        let statistics = FeatureStatistics(values: values, missing: missing)
        let impute = impute(settings.impute, sorted: values, mean: statistics.mean)
        let outliers = outliers(settings, sorted: values)
        var warnings: [String] = []
        if let remark = try remark(impute, outliers, settings) { warnings.append(remark) }
        if impute.strategy == .reject && missing > 0 {
            warnings.append("\(missing) reference rows lack the value and would be dead letters (impute: reject)")
        }
        if let value = impute.value { values += repeatElement(value, count: missing) }
        let scale = scale(settings.scale, fittedOn: afterPolicy(values, outliers))
        if scale.kind != .none && scale.isConstant {
            warnings.append(
                "its value never varies in the reference data, so it is only shifted, not scaled (divisor 1)")
        }
        guard scale.scale.offset.isFinite, scale.scale.divisor.isFinite, statistics.std.isFinite else {
            throw TransformError(
                .cannotFit, "feature '\(settings.name)': its values are too large for Float64 statistics: rescale them")
        }
        let feature = FittedTransform.Feature(
            name: settings.name, field: settings.field, impute: impute, outliers: outliers, scale: scale.scale,
            reference: statistics)
        return (feature, warnings)
    }

    private static func impute(
        _ settings: FeatureSettings.Column.Impute, sorted: [Double], mean: Double
    ) -> FittedTransform.Impute {
        switch settings {
        case .mean: .init(strategy: .mean, value: mean)
        case .median: .init(strategy: .median, value: Moments.quantile(sorted, 0.5))
        case .constant(let value): .init(strategy: .constant, value: value)
        case .reject: .init(strategy: .reject, value: nil)
        }
    }

    private static func outliers(_ settings: FeatureSettings.Column, sorted: [Double]) -> FittedTransform.Outliers {
        let policy: FittedTransform.Outliers.Policy =
            switch settings.outlierPolicy {
            case .none: .none
            case .clip: .clip
            case .flag: .flag
            case .reject: .reject
            }
        guard policy != .none else { return .init(policy: .none) }
        return .init(
            policy: policy, lowerQuantile: settings.lowerQuantile, upperQuantile: settings.upperQuantile,
            lower: Moments.quantile(sorted, settings.lowerQuantile),
            upper: Moments.quantile(sorted, settings.upperQuantile))
    }

    /// An imputed value passes the outlier policy like any other; one outside the bounds is rarely meant.
    private static func remark(
        _ impute: FittedTransform.Impute, _ outliers: FittedTransform.Outliers, _ settings: FeatureSettings.Column
    ) throws(TransformError) -> String? {
        guard let value = impute.value, let lower = outliers.lower, let upper = outliers.upper,
            value < lower || value > upper
        else { return nil }
        let place = "the imputed value \(value) lies outside the outlier bounds \(lower) ... \(upper)"
        switch outliers.policy {
        case .none: return nil
        case .clip: return "\(place) and is clipped to them"
        case .flag: return "\(place), so every missing value is also flagged as an outlier"
        case .reject:
            throw TransformError(
                .cannotFit,
                "feature '\(settings.name)': \(place), so every missing value would be rejected: choose `impute: median` "
                    + "or `impute: reject`, or widen the quantiles")
        }
    }

    private static func afterPolicy(_ values: [Double], _ outliers: FittedTransform.Outliers) -> [Double] {
        guard let lower = outliers.lower, let upper = outliers.upper else { return values }
        switch outliers.policy {
        case .none, .flag: return values
        case .clip: return values.map { min(max($0, lower), upper) }
        case .reject: return values.filter { $0 >= lower && $0 <= upper }
        }
    }

    private static func scale(
        _ kind: FeatureSettings.Column.Scale, fittedOn values: [Double]
    ) -> (scale: FittedTransform.Scale, kind: FeatureSettings.Column.Scale, isConstant: Bool) {
        switch kind {
        case .none: return (.init(kind: .none, offset: 0, divisor: 1), kind, false)
        case .standard:
            let (mean, std) = Moments.meanAndDeviation(values)
            return (.init(kind: .standard, offset: mean, divisor: std > 0 ? std : 1), kind, std <= 0)
        case .minmax:
            let low = values.min() ?? 0
            let range = (values.max() ?? 0) - low
            return (.init(kind: .minmax, offset: low, divisor: range > 0 ? range : 1), kind, range <= 0)
        }
    }
}
