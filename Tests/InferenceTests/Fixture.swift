// Fixture: reference cases made with ONNX Runtime (Fixtures/make_fixtures.py).

import Foundation
import Inference
import Testing

/// A model with inputs and the outputs that ONNX Runtime gives for them.
struct Fixture: Decodable, CustomTestStringConvertible, Sendable {
    struct Output: Decodable {
        var name: String
        var floats: [Float?]?
        var integers: [Int64]?
        var texts: [String]?
    }

    var name: String
    /// Base64; nil when the model stands in a file of that name.
    var model: String?
    var rows: Int
    /// Null stands for NaN.
    var input: [Float?]
    var outputs: [Output]

    var testDescription: String { name }

    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")

    static func file(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: directory.appending(path: name)))
    }

    static func reference(_ name: String) throws -> (fixture: Fixture, model: [UInt8]) {
        let fixture = try JSONDecoder().decode(Fixture.self, from: Data(file(name + "_ref.json")))
        return (fixture, try file(name + ".onnx"))
    }

    static func operators() throws -> [Fixture] {
        try JSONDecoder().decode([Fixture].self, from: Data(file("operators.json")))
    }

    func modelBytes() throws -> [UInt8] {
        Array(try #require(model.flatMap { Data(base64Encoded: $0) }))
    }

    var inputRows: [Float] { input.map { $0 ?? .nan } }

    /// Compares a run's outputs within 1e-5, relative to the larger of 1 and the expected value.
    func expectEqual(_ result: InferenceOutputs, classNames: [String]?) throws {
        #expect(result.columns.count == outputs.count, "\(name)")
        for (expected, actual) in zip(outputs, result.columns) {
            #expect(expected.name == actual.name, "\(name)")
            if let integers = expected.integers {
                #expect(integers == actual.integers, "\(name): \(expected.name)")
            } else if let texts = expected.texts {
                let names = try #require(classNames, "\(name): no class names")
                #expect(texts == actual.integers.map { names[Int($0)] }, "\(name): \(expected.name)")
            } else if let floats = expected.floats {
                #expect(floats.count == actual.floats.count, "\(name): \(expected.name)")
                for (want, got) in zip(floats, actual.floats) {
                    let isClose =
                        want.map { abs(got - $0) <= 1e-5 * max(1, abs($0)) || got == $0 } ?? got.isNaN
                    #expect(isClose, "\(name): \(expected.name): \(got), expected \(want ?? .nan)")
                }
            }
        }
    }
}

/// A session from bytes.
func makeSession(_ bytes: [UInt8], rowsMax: Int = 256) throws -> InferenceSession {
    try InferenceSession(bytes.span.bytes, rowsMax: rowsMax)
}
