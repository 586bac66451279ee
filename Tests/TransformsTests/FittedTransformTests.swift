// FittedTransformTests: transform.json, its hash, and every mismatch.

import EventContracts
import Foundation
import PipelineContract
import Testing

@testable import Transforms

@Suite("The transform document")
struct FittedTransformTests {
    private let folder: Folder
    private let columns: [FeatureSettings.Column] = [
        .column("a", impute: .mean, scale: .standard, policy: .clip, bounds: 0.05...0.95),
        .column("b", impute: .constant(0.5), scale: .minmax, policy: .flag, bounds: 0.1...0.9),
        .column("c \"quoted\"", field: "c", impute: .reject),
    ]

    init() throws { folder = try Folder() }

    private func fitted() throws -> (FittedTransform, Pipeline) {
        let pipeline = pipeline(columns, directory: folder.path)
        let data = try table([("a", [1, 2, 4]), ("b", [0, nil, 8]), ("c", [1, 1, 1])], for: pipeline)
        return (try TransformFitter.fit(data, for: pipeline).transform, pipeline)
    }

    @Test("The canonical text and its hash are what they always were")
    func golden() throws {
        let (transform, _) = try fitted()
        let expected =
            #"{"event_schema":"SCHEMA","features":[{"field":"a","impute":{"strategy":"mean","value":2.3333333333333335},"#
            + #""name":"a","outliers":{"lower":1.1,"lower_quantile":0.05,"policy":"clip","upper":3.8,"#
            + #""upper_quantile":0.95},"scale":{"divisor":1.1224972160321822,"kind":"standard","offset":2.3000000000000003},"#
            + #""type":"float32"},{"field":"b","impute":{"strategy":"constant","value":0.5},"name":"b","#
            + #""outliers":{"lower":0.8,"lower_quantile":0.1,"policy":"flag","upper":7.2,"upper_quantile":0.9},"#
            + #""scale":{"divisor":8.0,"kind":"minmax","offset":0.0},"type":"float32"},{"field":"c","#
            + #""impute":{"strategy":"reject"},"name":"c \"quoted\"","outliers":{"policy":"none"},"#
            + #""scale":{"divisor":1.0,"kind":"none","offset":0.0},"type":"float32"}],"version":1}"#
        #expect(transform.canonicalText == expected.replacingOccurrences(of: "SCHEMA", with: transform.eventSchema))
        #expect(transform.contract == "d3fcd93830783451")
    }

    @Test("Saved and loaded it is equal, byte for byte when saved again, and applies equally")
    func roundTrip() throws {
        let (transform, pipeline) = try fitted()
        let path = pipeline.features.transformPath
        try transform.save(to: path)
        let loaded = try FittedTransform.load(for: pipeline)
        #expect(loaded == transform)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        try loaded.save(to: path)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)

        var random = Random(7)
        let rows = (0..<200).map { _ in Double.random(in: -10...10, using: &random) }
        let data = try table(
            [("a", rows.map { $0 > 8 ? nil : $0 }), ("b", rows.map { $0 < -8 ? nil : $0 / 3 }), ("c", rows)],
            for: pipeline)
        let results = try [transform, loaded].map { document in
            let transform = try FeatureTransform(document, schema: pipeline.input.schema)
            var features = transform.makeColumns()
            var rejections: [FeatureRejection] = []
            transform.apply(data, into: &features, rejections: &rejections)
            return (features.values, features.outliers, rejections)
        }
        #expect(results[0] == results[1])
    }

    @Test("The hash follows every parameter, and nothing else")
    func hashFollowsParameters() throws {
        let (transform, _) = try fitted()
        func hash(_ change: (inout FittedTransform) -> Void) -> UInt64 {
            var changed = transform
            change(&changed)
            return changed.contractHash
        }
        let changes: [(inout FittedTransform) -> Void] = [
            { $0.version = 2 }, { $0.eventSchema = "0000000000000000" }, { $0.features[0].name = "x" },
            { $0.features[0].field = "b" }, { $0.features[0].impute.value = 2.333333333333334 },
            { $0.features[0].impute.strategy = .median }, { $0.features[0].outliers.lower = 1.2 },
            { $0.features[0].outliers.policy = .flag }, { $0.features[0].outliers.upperQuantile = 0.96 },
            { $0.features[1].scale.divisor = 8.000000000000002 }, { $0.features[1].scale.kind = .standard },
            { $0.features.swapAt(0, 1) }, { $0.features.removeLast() },
        ]
        #expect(Set(changes.map { hash($0) } + [transform.contractHash]).count == changes.count + 1)
        #expect(hash { $0.pipeline = "other" } == transform.contractHash)
        #expect(hash { $0.features[0].reference.mean = 0 } == transform.contractHash)
        #expect(hash { $0.features[1].scale.offset = -0.0 } == transform.contractHash)
    }

    @Test("A document that was changed, damaged or is of another version is refused")
    func damaged() throws {
        let (transform, pipeline) = try fitted()
        let path = pipeline.features.transformPath
        try transform.save(to: path)
        let text = try folder.text("artifacts/transform.json")
        let cases: [(String, String, String)] = [
            ("\"upper\" : 3.8", "\"upper\" : 3.9", "the file was changed by hand or damaged; run `penstock fit"),
            ("\"version\" : 1", "\"version\" : 2", "has version 2, this program reads version 1: run `penstock fit"),
            (
                "\"kind\" : \"minmax\"", "\"kind\" : \"log\"",
                "features.Index 1.scale.kind' has a value that is not known"
            ),
            ("\"divisor\" : 8", "\"divisor\" : 0", "the divisor of the scale is not positive; run `penstock fit"),
            ("\"divisor\" : 8", "\"divisor\" : \"8\"", "'features.Index 1.scale.divisor' has the wrong type"),
            ("\"event_schema\"", "\"schema\"", "'event_schema' is missing; run `penstock fit"),
            ("{", "", "it is not valid JSON"),
        ]
        for (old, new, expected) in cases {
            let range = try #require(text.range(of: old))
            try folder.write(text.replacingCharacters(in: range, with: new), to: "artifacts/transform.json")
            let found = message { _ = try FittedTransform.load(for: pipeline) }
            #expect(found.contains(expected) && found.hasPrefix(path) && !found.contains("\n"), "\(found)")
        }
        try FileManager.default.removeItem(atPath: path)
        let found = message { _ = try FittedTransform.load(for: pipeline) }
        #expect(
            found == "cannot read \(path): No such file or directory; run `penstock fit \(folder.path)` to write it")
    }

    @Test("Each mismatch with the pipeline has its own message")
    func mismatches() throws {
        let (transform, own) = try fitted()
        try transform.save(to: own.features.transformPath)
        var changed = columns
        changed[0].outlierPolicy = .flag
        var constant = columns
        constant[1].impute = .constant(1)
        let cases: [(Pipeline, String)] = [
            (
                pipeline(columns, name: "other", directory: folder.path),
                "was fitted for the pipeline 'test', not 'other'"
            ),
            (pipeline(columns, directory: folder.path, fields: Array(standardFields.dropLast())), "the event schema"),
            (pipeline(columns.reversed(), directory: folder.path), "pipeline.yaml declares c \"quoted\", b, a"),
            (pipeline(changed, directory: folder.path), "pipeline.yaml declares field a, impute mean, outliers flag"),
            (pipeline(constant, directory: folder.path), "fitted as field b, impute constant 0.5"),
        ]
        for (pipeline, expected) in cases {
            let found = message { _ = try FittedTransform.load(for: pipeline) }
            #expect(found.contains(expected) && found.contains("run `penstock fit \(folder.path)`"), "\(found)")
        }
    }

    @Test("Another pipeline's document is not overwritten, nor a file that is none, nor one in a locked folder")
    func foreignFiles() throws {
        let (transform, _) = try fitted()
        let path = folder.file("t.json")
        try transform.save(to: path)
        var other = transform
        other.pipeline = "other"
        #expect(message { try other.save(to: path) }.contains("belongs to the pipeline 'test', not 'other'"))
        try folder.write("precious", to: "t.json")
        #expect(message { try transform.save(to: path) }.contains("is no transform document"))
        #expect(try folder.text("t.json") == "precious")
        try folder.write("", to: "blocked")
        let found = message { try transform.save(to: folder.file("blocked/t.json")) }
        #expect(found.contains("Not a directory") && !found.contains("\n"), "\(found)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).allSatisfy { !$0.hasSuffix(".tmp") })
    }
}
