// CaseFile: reference cases as scripts/make-inference-fixtures.py packs them.

import Foundation
import Inference
import Testing

/// A model with inputs and the outputs that it must give.
struct ReferenceCase: Sendable {
    var name: String
    /// What the expected outputs were made with.
    var origin: String
    var model: [UInt8]
    var inputs: [(name: String, bytes: [UInt8])]
    var outputs: [(name: String, bytes: [UInt8])]

    static func load(_ file: String) throws -> [ReferenceCase] {
        let bytes = try Fixture.file(file)
        var at = 7
        try #require(bytes.count > 11 && bytes[..<7] == ArraySlice("CASES1\n".utf8))
        func number() throws -> Int {
            try #require(at + 4 <= bytes.count)
            defer { at += 4 }
            return (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
        }
        func block() throws -> [UInt8] {
            let count = try number()
            try #require(at + count <= bytes.count)
            defer { at += count }
            return Array(bytes[at..<at + count])
        }
        func text() throws -> String { String(decoding: try block(), as: UTF8.self) }
        func tensors() throws -> [(name: String, bytes: [UInt8])] {
            try (0..<number()).map { _ in (try text(), try block()) }
        }
        return try (0..<number()).map { _ in
            ReferenceCase(
                name: try text(), origin: try text(), model: try block(), inputs: try tensors(), outputs: try tensors())
        }
    }

    enum Outcome: Equatable {
        case passed
        case unsupported(String)
        case failed(String)
    }

    /// Loads and runs the model and compares within 1e-5, relative to the larger of 1 and the expected value.
    func outcome(batching: Batching) -> Outcome {
        do {
            let session = try InferenceSession(model.span.bytes, batching: batching)
            var values: [String: TensorValue] = [:]
            for input in inputs { values[input.name] = try TensorValue(protobuf: input.bytes.span.bytes) }
            let results = try session.run(values)
            guard results.count == outputs.count else { return .failed("\(results.count) outputs") }
            for (expected, result) in zip(outputs, results) {
                let want = try TensorValue(protobuf: expected.bytes.span.bytes)
                if let difference = Self.difference(want, result.value) {
                    return .failed("\(expected.name): \(difference)")
                }
            }
            return .passed
        } catch let error as ONNXError where error.code == .unsupported || error.code == .unknownOperator {
            return .unsupported(error.message)
        } catch {
            return .failed("\(error)")
        }
    }

    private static func difference(_ want: TensorValue, _ got: TensorValue) -> String? {
        guard want.type == got.type else { return "type \(got.type), expected \(want.type)" }
        // Converters of maps lose the shape; the elements count.
        guard want.elements.count == got.elements.count, want.shape.filter({ $0 != 1 }) == got.shape.filter({ $0 != 1 })
        else { return "shape \(got.shape), expected \(want.shape)" }
        func compare(_ a: [Double], _ b: [Double]) -> String? {
            for (index, (x, y)) in zip(a, b).enumerated() {
                let isClose = x == y || (x.isNaN && y.isNaN) || abs(x - y) <= 1e-5 * max(1, abs(x))
                if !isClose { return "element \(index) is \(y), expected \(x)" }
            }
            return nil
        }
        switch (want.elements, got.elements) {
        case (.floats(let a), .floats(let b)): return compare(a.map { Double($0) }, b.map { Double($0) })
        case (.doubles(let a), .doubles(let b)): return compare(a, b)
        case (.integers(let a), .integers(let b)): return a == b ? nil : "\(b.prefix(8)), expected \(a.prefix(8))"
        case (.texts(let a), .texts(let b)): return a == b ? nil : "\(b.prefix(8)), expected \(a.prefix(8))"
        default: return "elements of another kind"
        }
    }
}
