// TransformFitterTests: fitted parameters against numpy and scikit-learn.

import EventContracts
import PipelineContract
import Testing

@testable import Transforms

@Suite("Fitting the transforms")
struct TransformFitterTests {
    /// Two values are missing. The expected numbers below come from numpy 2.4 and scikit-learn 1.9
    /// (SimpleImputer, quantile, clip, StandardScaler, MinMaxScaler).
    private let sample: [Double?] = [3.5, nil, 7.75, 0.1, 12, 2.2, 2.2, nil, 100, 5]

    private func fit(_ column: FeatureSettings.Column, _ values: [Double?]) throws -> (TransformFitter.Fit, Pipeline) {
        let pipeline = pipeline([column])
        return (try TransformFitter.fit(try table([("a", values)], for: pipeline), for: pipeline), pipeline)
    }

    private func isClose(_ a: Double?, _ b: Double) -> Bool {
        a.map { abs($0 - b) <= 1e-14 * max(1, abs(b)) } ?? false
    }

    @Test("Quantiles interpolate linearly, as numpy's default does")
    func quantiles() {
        let sorted = [3.5, -1.25, 7.75, 0.1, 12, 2.2, 2.2, -8.5, 100, 5].sorted()
        let expected: [(Double, Double)] = [
            (0, -8.5), (0.001, -8.43475), (0.05, -5.2375), (0.25, 0.625), (1.0 / 3, 2.2), (0.5, 2.85),
            (0.9, 20.79999999999997), (0.999, 99.20799999999997), (1, 100),
        ]
        for (probability, quantile) in expected { #expect(Moments.quantile(sorted, probability) == quantile) }
        #expect(Moments.quantile([7], 0.3) == 7)
        let (mean, std) = Moments.meanAndDeviation(sorted)
        #expect(isClose(mean, 12.3) && isClose(std, 29.684869883494525))
    }

    @Test("Impute, clip and standardise agree with scikit-learn's pipeline")
    func standard() throws {
        let column = FeatureSettings.Column.column(
            "a", impute: .mean, scale: .standard, policy: .clip, bounds: 0.1...0.9)
        let (fit, pipeline) = try fit(column, sample)
        let feature = try #require(fit.transform.features.first)
        #expect(isClose(feature.impute.value, 16.59375))
        #expect(isClose(feature.outliers.lower, 1.5700000000000003))
        #expect(isClose(feature.outliers.upper, 38.399999999999984))
        #expect(isClose(feature.scale.offset, 10.580749999999998))
        #expect(isClose(feature.scale.divisor, 10.76661401044915))
        #expect(feature.reference.count == 8 && feature.reference.missing == 2)
        let expected: [Float] = [
            -0.657658040523529, 0.5584856867790222, -0.26291924715042114, -0.8369158506393433, 0.13181953132152557,
            -0.7784016132354736, -0.7784016132354736, 0.5584856867790222, 2.583843946456909, -0.5183384418487549,
        ]
        try expect(fit.transform, pipeline, gives: expected)
    }

    @Test("Impute, clip and min-max agree with scikit-learn's pipeline")
    func minmax() throws {
        let column = FeatureSettings.Column.column(
            "a", impute: .median, scale: .minmax, policy: .clip, bounds: 0.1...0.9)
        let (fit, pipeline) = try fit(column, sample)
        let feature = try #require(fit.transform.features.first)
        #expect(feature.impute.value == 4.25)
        #expect(isClose(feature.scale.offset, 1.5700000000000003) && isClose(feature.scale.divisor, 36.829999999999984))
        let expected: [Float] = [
            0.052402932196855545, 0.07276676595211029, 0.1677979975938797, 0, 0.28319305181503296, 0.017105620354413986,
            0.017105620354413986, 0.07276676595211029, 1, 0.09313060343265533,
        ]
        try expect(fit.transform, pipeline, gives: expected)
    }

    private func expect(_ fitted: FittedTransform, _ pipeline: Pipeline, gives expected: [Float]) throws {
        let transform = try FeatureTransform(fitted, schema: pipeline.input.schema)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(try table([("a", sample)], for: pipeline), into: &features, rejections: &rejections)
        #expect(rejections.isEmpty && features.values.count == expected.count)
        for (value, expected) in zip(features.values, expected) { #expect(abs(value - expected) <= 1e-6) }
        #expect(features.imputed == [0, 1, 0, 0, 0, 0, 0, 1, 0, 0])
        #expect(features.outliers == [0, 0, 0, 1, 0, 0, 0, 0, 1, 0])
    }

    @Test("With flag the scale is fitted on all values, with reject on those that stay")
    func policies() throws {
        let values: [Double?] = Array(0...9).map(Double.init) + [1_000]
        let flag = try fit(.column("a", scale: .minmax, policy: .flag, bounds: 0...0.9), values).0.transform.features[0]
        #expect(flag.scale.offset == 0 && flag.scale.divisor == 1_000)
        let reject = try fit(.column("a", scale: .minmax, policy: .reject, bounds: 0...0.9), values).0.transform
            .features[0]
        #expect(reject.scale.offset == 0 && reject.scale.divisor == 9)
        let clip = try fit(.column("a", scale: .minmax, policy: .clip, bounds: 0...0.8), values).0.transform.features[0]
        #expect(clip.scale.offset == 0 && clip.scale.divisor == 8)
    }

    @Test("A constant feature is shifted with divisor 1, and said so")
    func constant() throws {
        for scale in [FeatureSettings.Column.Scale.standard, .minmax] {
            let (fit, _) = try fit(.column("a", scale: scale), [0.1, 0.1, 0.1, nil])
            #expect(fit.transform.features[0].scale.offset == 0.1 && fit.transform.features[0].scale.divisor == 1)
            #expect(fit.warnings.count == 1 && fit.warnings[0].contains("feature 'a': its value never varies"))
        }
        #expect(try fit(.column("a"), [1, 1]).0.warnings.isEmpty)
    }

    @Test("What cannot be fitted is refused with the way to mend it")
    func refusals() throws {
        let pipeline = pipeline([.column("a"), .column("b")])
        let empty = try table([("a", [1, 2]), ("b", [nil, nil])], for: pipeline)
        #expect(message { _ = try TransformFitter.fit(empty, for: pipeline) }.contains("no value in the column 'b'"))
        let rejected = message {
            _ = try fit(.column("a", impute: .constant(-1), policy: .reject, bounds: 0.1...0.9), [1, 2, 3, 4, nil])
        }
        #expect(rejected.contains("every missing value would be rejected"))
        let huge = message { _ = try fit(.column("a", scale: .standard), [1e308, -1e308, 1.7e308]) }
        #expect(huge.contains("too large for Float64"))
    }

    @Test("An imputed value outside the bounds, and rows that would be dead letters, are remarked")
    func remarks() throws {
        let flag = FeatureSettings.Column.column("a", impute: .constant(-1), policy: .flag, bounds: 0.1...0.9)
        #expect(try fit(flag, [1, 2, 3]).0.warnings.first?.contains("also flagged as an outlier") == true)
        let reject = FeatureSettings.Column.column("a", impute: .reject)
        #expect(
            try fit(reject, [1, nil, nil]).0.warnings == [
                "feature 'a': 2 reference rows lack the value and would be dead letters (impute: reject)"
            ])
    }

    @Test("The housing transform has the contract hash that it always had")
    func housingHash() throws {
        let pipeline = try housing()
        let table = try ReferenceTable(
            path: "\(pipeline.directory)/data/reference.csv", schema: pipeline.input.schema, features: pipeline.features
        )
        #expect(table.rowCount == 5_832)
        let fit = try TransformFitter.fit(table, for: pipeline)
        #expect(fit.warnings.isEmpty)
        #expect(fit.transform.contract == "8ccc3c564ac9a634")
    }
}
