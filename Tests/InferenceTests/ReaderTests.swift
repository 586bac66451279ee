// ReaderTests: damaged, hostile and unsupported models.

import Inference
import Testing

@Suite("A model that cannot be run is refused, never crashed on")
struct ReaderTests {
    /// Loads and, when that works, runs one row: whatever the bytes are, the process must live.
    private func attempt(_ bytes: [UInt8]) -> Bool {
        var limits = ONNXLimits()
        limits.tensorElementsMax = 1 << 20
        guard let session = try? InferenceSession(bytes.span.bytes, rowsMax: 4, limits: limits) else { return false }
        let rows = [Float](repeating: 0.5, count: session.inputWidth * 3)
        _ = session.run(rows, count: 3)
        return true
    }

    @Test("A model cut off anywhere is refused")
    func truncated() throws {
        let small = try Fixture.file("a_scaler_logreg.onnx")
        var loaded = 0
        for length in 0..<small.count where attempt(Array(small[..<length])) { loaded += 1 }
        // Cut between two top-level fields only the opset imports at the end are lost.
        #expect(loaded <= 2)
        let large = try Fixture.file("b_mlp_30_64_64_2.onnx")
        for length in stride(from: 0, to: large.count - 32, by: 37) { #expect(!attempt(Array(large[..<length]))) }
    }

    @Test("Changed bytes never crash the loader or the run", arguments: 0..<40)
    func mutated(_ seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed))
        let models = try Fixture.operators()
        for _ in 0..<60 {
            var bytes = try models[Int.random(in: 0..<models.count, using: &random)].modelBytes()
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                default: bytes.remove(at: index)
                }
                guard !bytes.isEmpty else { break }
            }
            _ = attempt(bytes)
        }
    }

    @Test("An unknown operator is named with its node, domain and opset")
    func unknownOperator() throws {
        var writer = ONNXWriter(graphName: "g", opset: 17)
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        writer.addNode("Fancy", ["x"], ["y"], name: "the odd one")
        writer.addOutput("y", shape: [.free("N"), .fixed(2)])
        let error = #expect(throws: ONNXError.self) { try makeSession(writer.encoded()) }
        #expect(error?.code == .unknownOperator)
        for part in ["the odd one", "Fancy", "ai.onnx", "17"] { #expect(error?.message.contains(part) == true) }
    }

    @Test("A convolution is refused by name: this engine runs tabular models")
    func convolution() throws {
        let bytes = try Fixture.file("d_cnn_8x8.onnx")
        let error = #expect(throws: ONNXError.self) { try makeSession(bytes) }
        #expect(error?.code == .unknownOperator && error?.message.contains("(Conv, ai.onnx 17)") == true)
    }

    @Test("An operator of a domain that the model does not import is unknown")
    func foreignDomain() throws {
        var writer = ONNXWriter(graphName: "g", opset: 17)
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        writer.addNode("Scaler", ["x"], ["y"], domain: "ai.onnx.ml")
        writer.addOutput("y", shape: [.free("N"), .fixed(2)])
        let error = #expect(throws: ONNXError.self) { try makeSession(writer.encoded()) }
        #expect(error?.code == .unknownOperator && error?.message.contains("ai.onnx.ml") == true)
    }

    @Test("Opsets outside 7 to 22 are refused", arguments: [1, 6, 23, 99])
    func opsets(_ opset: Int) throws {
        var writer = ONNXWriter(graphName: "g", opset: opset)
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        writer.addNode("Relu", ["x"], ["y"])
        writer.addOutput("y", shape: [.free("N"), .fixed(2)])
        #expect(throws: ONNXError.self) { try makeSession(writer.encoded()) }
    }

    /// What would mix the rows of a batch, so that a result would depend on the neighbours.
    @Test(
        "An operator that would mix the rows of the batch is refused",
        arguments: [
            ("Softmax", [("axis", ONNXAttributeValue.int(0))]), ("ArgMax", [("axis", .int(0))]),
            ("Concat", [("axis", .int(0))]), ("ReduceSum", [("keepdims", .int(0))]), ("Add", []),
        ])
    func mixing(_ operation: String, _ attributes: [(String, ONNXAttributeValue)]) throws {
        var writer = ONNXWriter(graphName: "g", opset: 17)
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        writer.addInitializer("c", dims: [3, 2], floats: [1, 2, 3, 4, 5, 6])
        writer.addNode(
            operation, ["Concat", "Add"].contains(operation) ? ["x", "c"] : ["x"], ["y"], attributes: attributes)
        writer.addOutput("y", shape: [.free("N"), .fixed(2)])
        let error = #expect(throws: ONNXError.self) { try makeSession(writer.encoded()) }
        #expect(error?.code == .unsupported || error?.code == .invalidGraph)
    }

    @Test("A tensor that claims more elements than the file holds is refused before memory is taken for it")
    func hugeTensor() throws {
        // ModelProto { graph { initializer { dims: [2^20, 2^20] data_type: 1 name: "w" } } }
        let initializer: [UInt8] =
            [0x08, 0x80, 0x80, 0x40, 0x08, 0x80, 0x80, 0x40, 0x10, 0x01, 0x42, 0x01, 0x77]
        let graph: [UInt8] = [0x2a, UInt8(initializer.count)] + initializer
        let model: [UInt8] = [0x08, 0x08, 0x3a, UInt8(graph.count)] + graph + [0x42, 0x02, 0x10, 0x11]
        let error = #expect(throws: ONNXError.self) { try makeSession(model) }
        #expect(error?.code == .tooLarge)
    }

    @Test("A small file cannot make the loader allocate without bound")
    func expandingConstants() throws {
        var writer = ONNXWriter(graphName: "g")
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        let size = 2_000
        writer.addInitializer("tall", dims: [size, 1], floats: [Float](repeating: 1, count: size))
        writer.addInitializer("wide", dims: [1, size], floats: [Float](repeating: 1, count: size))
        for index in 0..<20 { writer.addNode("Add", ["tall", "wide"], ["c\(index)"]) }
        writer.addNode("Relu", ["x"], ["y"])
        writer.addOutput("y", shape: [])
        var limits = ONNXLimits()
        limits.weightElementsMax = 1 << 24
        let bytes = writer.encoded()
        let error = #expect(throws: ONNXError.self) { try InferenceSession(bytes.span.bytes, limits: limits) }
        #expect(error?.code == .tooLarge && error?.message.contains("weightElementsMax") == true)
    }

    @Test("Reading before writing, writing twice and missing outputs are named")
    func invalidGraphs() throws {
        func message(_ build: (inout ONNXWriter) -> Void) -> String? {
            var writer = ONNXWriter(graphName: "g")
            writer.addInput("x", shape: [.free("N"), .fixed(2)])
            build(&writer)
            return #expect(throws: ONNXError.self) { try makeSession(writer.encoded()) }?.message
        }
        let unordered = message {
            $0.addNode("Relu", ["later"], ["y"])
            $0.addOutput("y", shape: [])
        }
        #expect(unordered?.contains("'later'") == true)
        let twice = message {
            $0.addNode("Relu", ["x"], ["y"])
            $0.addNode("Relu", ["x"], ["y"])
            $0.addOutput("y", shape: [])
        }
        #expect(twice?.contains("'y' is produced twice") == true)
        #expect(message { $0.addOutput("nowhere", shape: []) }?.contains("'nowhere'") == true)
        #expect(message { _ in }?.contains("no outputs") == true)
    }
}

/// SplitMix64: the same numbers on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
