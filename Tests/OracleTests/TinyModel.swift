// TinyModel: a small ONNX network written byte by byte, for tests of the oracle's own reader.

@testable import Oracle

enum TinyModel {
    static let features = [
        "MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude",
    ]

    static func varint(_ value: UInt64) -> [UInt8] {
        value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7f) | 0x80] + varint(value >> 7)
    }

    static func integer(_ field: Int, _ value: Int64) -> [UInt8] {
        varint(UInt64(field) << 3) + varint(UInt64(bitPattern: value))
    }

    static func bytes(_ field: Int, _ value: [UInt8]) -> [UInt8] {
        varint(UInt64(field) << 3 | 2) + varint(UInt64(value.count)) + value
    }

    static func text(_ field: Int, _ value: String) -> [UInt8] { bytes(field, Array(value.utf8)) }

    static func tensor(_ name: String, _ shape: [Int], _ values: [Float]) -> [UInt8] {
        let raw = values.flatMap { value in
            (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt32($0))) }
        }
        return shape.flatMap { integer(1, Int64($0)) } + integer(2, 1) + text(8, name) + bytes(9, raw)
    }

    static func node(_ operation: String, _ inputs: [String], _ output: String, attributes: [UInt8] = []) -> [UInt8] {
        inputs.flatMap { text(1, $0) } + text(2, output) + text(4, operation) + attributes
    }

    static func attribute(_ name: String, _ value: Int64) -> [UInt8] {
        bytes(5, text(1, name) + integer(3, value) + integer(20, 2))
    }

    static func model(nodes: [[UInt8]], tensors: [[UInt8]]) -> [UInt8] {
        let graph =
            nodes.flatMap { bytes(1, $0) } + tensors.flatMap { bytes(5, $0) } + bytes(11, text(1, "features"))
            + bytes(12, text(1, "probabilities"))
        return integer(1, 8) + bytes(7, graph)
    }

    /// 8 -> 3 (ReLU) -> 2 (softmax), as `penstock train` lays networks out.
    static var dense: [UInt8] {
        let first = (0..<24).map { Float($0 % 7 - 3) / 10 }
        let second = (0..<6).map { Float($0 % 5 - 2) / 4 }
        return model(
            nodes: [
                node("Gemm", ["features", "w0", "b0"], "sums"), node("Relu", ["sums"], "hidden"),
                node("Gemm", ["hidden", "w1", "b1"], "logits"),
                node("Softmax", ["logits"], "probabilities", attributes: attribute("axis", 1)),
                node("ArgMax", ["logits"], "label", attributes: attribute("axis", 1) + attribute("keepdims", 0)),
            ],
            tensors: [
                tensor("w0", [8, 3], first), tensor("b0", [3], [0.1, -0.2, 0.3]), tensor("w1", [3, 2], second),
                tensor("b1", [2], [0.05, -0.05]),
            ])
    }

    static func score(contract: String, onnx: [UInt8] = dense) throws -> ScoreModel {
        try ScoreModel(
            name: "housing-dense", version: "7", contract: contract, threshold: 0.5, features: features,
            scoreOutput: "probabilities", positiveClass: 1, onnx: onnx)
    }
}
