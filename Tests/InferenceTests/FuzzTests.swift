// FuzzTests: hostile models give an error, never a crash, a hang or a large allocation.

import Foundation
import Inference
import Tensor
import Testing

@Suite("The reader and the planner survive any bytes")
struct FuzzTests {
    /// Refuses what a small model has no reason to ask for.
    private struct BoundedAllocator: WeightAllocator {
        struct Refused: Error {}

        func allocate(count: Int) throws -> FloatBuffer {
            guard count <= 1 << 24 else { throw Refused() }
            return try HeapWeightAllocator().allocate(count: count)
        }
    }

    private static let limits: ONNXLimits = {
        var limits = ONNXLimits()
        limits.tensorElementsMax = 1 << 16
        limits.weightElementsMax = 1 << 22
        limits.multiplicationsMax = 1 << 24
        return limits
    }()

    private func attempt(_ bytes: [UInt8], batching: Batching) {
        guard
            let session = try? InferenceSession(
                bytes.span.bytes, rowsMax: 4, limits: Self.limits, allocator: BoundedAllocator(), batching: batching),
            session.inputWidth < 1 << 16
        else { return }
        let rows = (0..<session.inputWidth * 3).map { Float($0 % 7) - 3 }
        _ = session.run(rows, count: 3)
    }

    @Test("Changed models of every kind", arguments: 0..<16)
    func mutated(_ seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed) &+ 77)
        let cases =
            try ReferenceCase.load("node-cases.bin")
            + ReferenceCase.load("models.bin").filter { $0.model.count < 20_000 }
        for _ in 0..<250 {
            let index = Int.random(in: 0..<cases.count, using: &random)
            var bytes = cases[index].model
            for _ in 0..<Int.random(in: 1...8, using: &random) where !bytes.isEmpty {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<6, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
                case 3: bytes.remove(at: at)
                // Numbers at the edges, where a length or a size may stand.
                case 4: bytes.replaceSubrange(at..<min(at + 9, bytes.count), with: [UInt8](repeating: 0xff, count: 9))
                default: bytes = Array(bytes[..<at])
                }
            }
            attempt(bytes, batching: seed % 2 == 0 ? .rows : .asDeclared)
        }
    }

    private func treeModel(yes: [Int64], no: [Int64], modes: [String], features: [Int64]) -> [UInt8] {
        var writer = ONNXWriter(graphName: "trees", opset: 17, mlOpset: 3)
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        let count = yes.count
        let ids = (0..<count).map { Int64($0) }
        writer.addNode(
            "TreeEnsembleRegressor", ["x"], ["y"], name: "trees",
            attributes: [
                ("nodes_treeids", .ints([Int64](repeating: 0, count: count))), ("nodes_nodeids", .ints(ids)),
                ("nodes_featureids", .ints(features)), ("nodes_truenodeids", .ints(yes)),
                ("nodes_falsenodeids", .ints(no)), ("nodes_modes", .strings(modes)),
                ("nodes_values", .floats([Float](repeating: 0.5, count: count))), ("target_treeids", .ints([0])),
                ("target_nodeids", .ints([Int64(count - 1)])), ("target_ids", .ints([0])),
                ("target_weights", .floats([1])), ("n_targets", .int(1)),
            ], domain: "ai.onnx.ml")
        writer.addOutput("y", shape: [.free("N"), .fixed(1)])
        return writer.encoded()
    }

    @Test("Trees with cycles, shared nodes, nodes that nothing reaches and features beyond the input are refused")
    func cyclicTrees() throws {
        func message(_ yes: [Int64], _ no: [Int64], _ modes: [String], _ features: [Int64]) -> String {
            let bytes = treeModel(yes: yes, no: no, modes: modes, features: features)
            return #expect(throws: ONNXError.self) { try InferenceSession(bytes.span.bytes) }?.message ?? ""
        }
        let leq = "BRANCH_LEQ"
        #expect(message([1, 0, 0], [2, 2, 0], [leq, leq, "LEAF"], [0, 1, 0]).contains("cycle"))
        #expect(message([1, 1, 0], [2, 2, 0], [leq, leq, "LEAF"], [0, 0, 0]).contains("cycle"))
        #expect(message([1, 0, 0], [1, 0, 0], [leq, "LEAF", "LEAF"], [0, 0, 0]).contains("two branches"))
        #expect(message([1, 0, 0], [2, 0, 0], [leq, "LEAF", "LEAF"], [9, 0, 0]).contains("feature 9"))
        #expect(message([7, 0, 0], [2, 0, 0], [leq, "LEAF", "LEAF"], [0, 0, 0]).contains("leads nowhere"))
        #expect(message([1, 0, 0], [2, 0, 0], ["BRANCH_XYZ", "LEAF", "LEAF"], [0, 0, 0]).contains("BRANCH_XYZ"))
        _ = try InferenceSession(
            treeModel(yes: [1, 0, 0], no: [2, 0, 0], modes: [leq, "LEAF", "LEAF"], features: [0, 0, 0]).span.bytes)
    }

    @Test("Huge dimensions, repeats and products are refused by the name of the limit")
    func huge() throws {
        func message(multiplicationsMax: Int = 1 << 34, _ build: (inout ONNXWriter) -> Void) -> String {
            var writer = ONNXWriter(graphName: "g")
            writer.addInput("x", shape: [.free("N"), .fixed(2)])
            build(&writer)
            writer.addOutput("y", shape: [])
            var limits = ONNXLimits()
            limits.multiplicationsMax = multiplicationsMax
            let bytes = writer.encoded()
            return #expect(throws: ONNXError.self) { try InferenceSession(bytes.span.bytes, limits: limits) }?.message
                ?? ""
        }
        let expand = message {
            $0.addInitializer("s", dims: [3], ints: [1 << 20, 1 << 20, 2])
            $0.addInitializer("one", dims: [1], floats: [1])
            $0.addNode("Expand", ["one", "s"], ["y"])
        }
        #expect(expand.contains("tensorElementsMax"))
        let tile = message {
            $0.addInitializer("r", dims: [2], ints: [1, .max])
            $0.addNode("Tile", ["x", "r"], ["y"])
        }
        #expect(tile.contains("repeats"))
        let product = message(multiplicationsMax: 1 << 10) {
            $0.addInitializer("d", dims: [4, 2, 512], floats: [Float](repeating: 1, count: 4_096))
            $0.addNode("Unsqueeze", ["x", "axis"], ["c"])
            $0.addInitializer("axis", dims: [1], ints: [0])
            $0.addNode("MatMul", ["c", "d"], ["y"])
        }
        #expect(product.contains("multiplicationsMax"))
        let wrongType = message { $0.addNode("Gather", ["x", "x"], ["y"]) }
        #expect(wrongType.contains("type float"))
    }

    @Test("External data is read from the file table alone, within the file")
    func externalData() throws {
        struct Files: ModelFileTable {
            var content: [UInt8]

            func size(of name: String) -> Int? { name == "weights.bin" ? content.count : nil }

            func read(_ name: String, offset: Int, into target: UnsafeMutableRawBufferPointer) throws {
                target.copyBytes(from: content[offset..<offset + target.count])
            }
        }
        func model(_ location: String, offset: String, length: String) -> [UInt8] {
            func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
                [number << 3 | 2, UInt8(content.count)] + content
            }
            func entry(_ key: String, _ value: String) -> [UInt8] {
                field(13, field(1, Array(key.utf8)) + field(2, Array(value.utf8)))
            }
            let tensor: [UInt8] =
                [8, 2, 8, 1, 16, 1] + field(8, Array("w".utf8)) + entry("location", location) + entry("offset", offset)
                + entry("length", length) + [112, 1]
            var writer = ONNXWriter(graphName: "g")
            writer.addInput("x", shape: [.free("N"), .fixed(2)])
            writer.addNode("MatMul", ["x", "w"], ["y"])
            writer.addOutput("y", shape: [.free("N"), .fixed(1)])
            // A second graph field is merged with the first.
            let graph = field(5, tensor)
            return writer.encoded() + field(7, graph)
        }
        let files = Files(
            content: [0, 0, 0, 0]
                + [Float(2), 3].flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
        let good = model("weights.bin", offset: "4", length: "8")
        let session = try InferenceSession(good.span.bytes, files: files)
        #expect(session.run([1, 10], count: 1).columns[0].floats == [32])
        for (bytes, table, part) in [
            (good, nil, "another file"), (model("../secret", offset: "0", length: "8"), files, "'../secret'"),
            (model("weights.bin", offset: "8", length: "8"), files, "needs 8 bytes at 8"),
            (model("weights.bin", offset: "-1", length: "8"), files, "offset '-1'"),
            (model("weights.bin", offset: "0", length: "4"), files, "needs 8 bytes"),
        ] as [([UInt8], Files?, String)] {
            let error = #expect(throws: ONNXError.self) { try InferenceSession(bytes.span.bytes, files: table) }
            #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
        }
    }
}
