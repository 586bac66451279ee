// FeatureTransformTests: the transform applied to events, against a plain reading of its definition.

import EventContracts
import PipelineContract
import Testing

@testable import Transforms

@Suite("Applying the transforms")
struct FeatureTransformTests {
    private static let policies = FeatureSettings.Column.OutlierPolicy.allCases
    private static let scales = FeatureSettings.Column.Scale.allCases

    /// Definition of docs/transforms.md, one value at a time; nil is a rejection.
    private func expected(_ value: Double?, _ feature: FittedTransform.Feature) -> (Float, UInt8, UInt8)? {
        guard var x = value ?? feature.impute.value else { return nil }
        let (lower, upper) = (feature.outliers.lower ?? -.infinity, feature.outliers.upper ?? .infinity)
        let isOutlier = !(lower...upper).contains(x)
        if isOutlier && feature.outliers.policy == .reject { return nil }
        if feature.outliers.policy == .clip { x = min(max(x, lower), upper) }
        let result = Float((x - feature.scale.offset) / feature.scale.divisor)
        return (result, value == nil ? 1 : 0, isOutlier ? 1 : 0)
    }

    @Test("Random tables and settings give what the definition says", arguments: UInt64(1)...40)
    func property(seed: UInt64) throws {
        var random = Random(seed)
        let imputations: [FeatureSettings.Column.Impute] = [.mean, .median, .constant(0), .reject]
        let columns = ["a", "b", "c"].map { name in
            let lower = Double.random(in: 0...0.4, using: &random)
            return FeatureSettings.Column.column(
                name, impute: imputations[Int.random(in: 0..<4, using: &random)],
                scale: Self.scales[Int.random(in: 0..<3, using: &random)],
                policy: Self.policies[Int.random(in: 0..<4, using: &random)],
                bounds: lower...Double.random(in: 0.6...1, using: &random))
        }
        let pipeline = pipeline(columns)
        func values(_ count: Int, spread: Double) -> [(String, [Double?])] {
            ["a", "b", "c"].map { name in
                (
                    name,
                    (0..<count).map { _ in
                        Int.random(in: 0..<5, using: &random) == 0
                            ? nil : Double.random(in: -spread...spread, using: &random)
                    }
                )
            }
        }
        let fit: TransformFitter.Fit
        do {
            fit = try TransformFitter.fit(try table(values(60, spread: 10), for: pipeline), for: pipeline)
        } catch let error as TransformError where error.code == .cannotFit {
            return  // an imputed value outside the bounds of a rejecting feature
        }
        let data = values(100, spread: 20)
        let events = try table(data, for: pipeline)
        let transform = try FeatureTransform(fit.transform, schema: pipeline.input.schema)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(events, into: &features, rejections: &rejections)

        var kept = 0
        for row in 0..<100 {
            let cells = zip(data, fit.transform.features).map { expected($0.1[row], $1) }
            guard !cells.contains(where: { $0 == nil }) else {
                let rejection = try #require(rejections.first { $0.row == row })
                #expect(rejection.feature == cells.firstIndex { $0 == nil })
                continue
            }
            #expect(features.sources[kept] == row)
            for (index, cell) in cells.enumerated() {
                let place = kept * 3 + index
                #expect(cell?.0.bitPattern == features.values[place].bitPattern)
                #expect(cell?.1 == features.imputed[place] && cell?.2 == features.outliers[place])
            }
            kept += 1
        }
        #expect(kept == features.rowCount && kept + rejections.count == 100)
    }

    @Test("Min-max values outside the fitted range are not clipped without the clip policy")
    func minmaxBeyond() throws {
        let pipeline = pipeline([.column("a", scale: .minmax)])
        let fit = try TransformFitter.fit(try table([("a", [0, 10])], for: pipeline), for: pipeline)
        let transform = try FeatureTransform(fit.transform, schema: pipeline.input.schema)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(try table([("a", [-5, 25])], for: pipeline), into: &features, rejections: &rejections)
        #expect(features.values == [-0.5, 2.5])
    }

    @Test("Messages of rejections name feature, value, bounds and mend")
    func messages() throws {
        let pipeline = pipeline([
            .column("a", impute: .reject), .column("size", field: "b", policy: .reject, bounds: 0...1),
            .column("c", scale: .standard),
        ])
        let data = try table([("a", [1, 2]), ("b", [0.5, 8]), ("c", [1, 1.0000000001])], for: pipeline)
        let fit = try TransformFitter.fit(data, for: pipeline)
        let transform = try FeatureTransform(fit.transform, schema: pipeline.input.schema)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        let events = try table([("a", [nil, 1, 1]), ("b", [1, 9, 1]), ("c", [1, 1, 1e300])], for: pipeline)
        transform.apply(events, into: &features, rejections: &rejections)
        #expect(features.rowCount == 0)
        #expect(rejections.map { transform.code(of: $0) } == [.missingFeature, .outlierRejected, .notFinite])
        let messages = rejections.map { transform.message(for: $0) }
        #expect(messages[0].hasPrefix("feature 'a': the value is missing and `impute` is reject; send the field"))
        #expect(
            messages[1].hasPrefix(
                "feature 'size' (field 'b'): the value 9.0 lies outside the fitted bounds 0.5 ... 8.0"))
        #expect(messages[2].hasPrefix("feature 'c': the value 1e+300 does not fit a Float32"))
    }

    @Test("Integers and flags of the event are features too")
    func otherTypes() throws {
        let folder = try Folder()
        let pipeline = pipeline([.column("n"), .column("on")])
        let path = try folder.write("n,on,pad\n3,true,1\n,false,1\n5,,1\n", to: "t.csv")
        let table = try ReferenceTable(path: path, schema: pipeline.input.schema, features: pipeline.features)
        let fit = try TransformFitter.fit(table, for: pipeline)
        let transform = try FeatureTransform(fit.transform, schema: pipeline.input.schema)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &features, rejections: &rejections)
        #expect(features.values == [3, 1, 4, 0, 5, 0.5])
    }
}
