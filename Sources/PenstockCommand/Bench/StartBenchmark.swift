// StartBenchmark: the time from a process's start to the first prediction of a sealed model.

import Attestation
import Cryptography
import Foundation
import Inference
import KeyBroker
import LocalDeployment
import SealedModels
import Sealing

/// Starts a key broker, seals models of given sizes, and has a process of its own open each through attestation, load it
/// and predict one row, as an inference consumer does before it joins its group.
final class StartBenchmark {
    struct Result: Encodable {
        var mebibytes: Int
        /// From before the process was started until its prediction was made; median of the runs.
        var totalMilliseconds: Double
        /// Of the same run: verification, attestation, release and decryption; the engine; the prediction.
        var openMilliseconds: Double
        var loadMilliseconds: Double
        var predictMilliseconds: Double
        var isLocked: Bool
        var allTotalMilliseconds: [Double]
    }

    private struct Opened: Decodable {
        var milliseconds: Double
        var loadMilliseconds: Double
        var predictMilliseconds: Double
        var isLocked: Bool
    }

    private static let owner = "benchmark"
    private static let secondsMax: Int64 = 30
    private let folder: String
    private let sealer: ModelSealer
    private let broker = Process()
    private var url = ""
    private var certificate: String { BrokerIdentity.certificatePath("\(folder)/key-broker") }

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "penstock-start-\(getpid())").path
        let place = "\(folder)/key-broker/owners/\(Self.owner)"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let key = try ECPrivateKey(generating: .p384)
        try KeyFile.write(key.publicKey, to: "\(place)/owner.pem")
        sealer = ModelSealer(
            owner: Self.owner, signer: key, policy: try .sample(), sampleAllowed: true, escrow: [key.publicKey])
    }

    deinit {
        if broker.isRunning {
            broker.terminate()
            broker.waitUntilExit()
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    func startBroker() throws {
        let address = "\(folder)/address"
        broker.executableURL = URL(fileURLWithPath: "\(Programs.directory)/key-broker")
        broker.arguments = [
            "--data", "\(folder)/key-broker", "--address-file", address, "--allow-insecure-sample",
            "--exit-with-parent", "--log-level", "error",
        ]
        broker.standardError = FileHandle.nullDevice
        broker.standardOutput = FileHandle.nullDevice
        do { try broker.run() } catch { throw CommandFailure("\(Programs.directory)/key-broker cannot be started") }
        let deadline = Timestamp.microseconds + Self.secondsMax * 1_000_000
        while Timestamp.microseconds < deadline, broker.isRunning {
            if let data = FileManager.default.contents(atPath: address), !data.isEmpty {
                url = String(decoding: data, as: UTF8.self).filter { !$0.isWhitespace }
                return
            }
            Pause.milliseconds(20)
        }
        throw CommandFailure("the key broker does not start")
    }

    func measure(mebibytes: Int, runs: Int) throws -> Result {
        let path = "\(folder)/model-\(mebibytes).smc"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try prepare(mebibytes, path)
        let results = try (0..<runs).map { _ in try open(path) }.sorted { $0.total < $1.total }
        let (total, opened) = results[results.count / 2]
        return Result(
            mebibytes: mebibytes, totalMilliseconds: total, openMilliseconds: opened.milliseconds,
            loadMilliseconds: opened.loadMilliseconds, predictMilliseconds: opened.predictMilliseconds,
            isLocked: opened.isLocked, allTotalMilliseconds: results.map(\.total))
    }

    /// Seals a model and hands its key over.
    private func prepare(_ mebibytes: Int, _ path: String) throws {
        let (width, onnx) = Self.model(bytes: mebibytes << 20)
        let manifest = ModelManifest(
            name: "start-\(mebibytes)", version: "1", contract: 0, features: (0..<width).map { "x\($0)" },
            onnx: "model.onnx", onnxBytes: onnx, outputs: .init(score: "score"))
        let client = try KeyBrokerClient(
            address: try BrokerAddress(url), certificatePath: certificate, provider: try NoEvidence.provider())
        let sealed = try sealer.seal(
            [
                SealedInput(name: "model.json", bytes: try manifest.encoded()),
                SealedInput(name: "model.onnx", bytes: onnx),
            ], name: manifest.name, version: "1", usage: .init(allow: [.inference]), to: path)
        try sealer.registerPolicy(at: client)
        try sealer.register(sealed.header, headerSHA256: sealed.headerSHA256, key: sealed.key, at: client)
        try KeyFile.write(sealer.signer.publicKey, to: "\(folder)/owner.pub")
    }

    /// Dense square layers of about so many bytes.
    private static func model(bytes: Int) -> (width: Int, onnx: [UInt8]) {
        let width = bytes <= 4 << 20 ? 256 : bytes <= 256 << 20 ? 1_024 : 2_048
        let layers = max(1, bytes / (4 * width * width))
        var writer = ONNXWriter(graphName: "start")
        writer.addInput("x", shape: [.free("N"), .fixed(width)])
        var current = "x"
        // Small distinct values: no denormals, nothing that compresses to a special case.
        let weights = (0..<width * width).map { Float(($0 &* 2_654_435_761) & 0xffff) / Float(1 << 24) }
        for layer in 0..<layers {
            writer.addInitializer("w\(layer)", dims: [width, width], floats: weights)
            writer.addNode("MatMul", [current, "w\(layer)"], ["s\(layer)"])
            writer.addNode("Relu", ["s\(layer)"], ["h\(layer)"])
            current = "h\(layer)"
        }
        writer.addInitializer("out", dims: [width, 1], floats: [Float](repeating: 1e-3, count: width))
        writer.addNode("MatMul", [current, "out"], ["logit"])
        writer.addNode("Sigmoid", ["logit"], ["score"])
        writer.addOutput("score", shape: [.free("N"), .fixed(1)])
        return (width, writer.encoded())
    }

    private func open(_ path: String) throws -> (total: Double, opened: Opened) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Programs.penstock)
        process.arguments = [
            "model", "hold", path, "--owner-key", "\(folder)/owner.pub", "--key-broker", url,
            "--key-broker-certificate", certificate, "--insecure-sample-attestation", "--predict",
        ]
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        let start = Timestamp.microseconds
        try process.run()
        defer {
            try? input.fileHandleForWriting.close()
            process.waitUntilExit()
        }
        var text = Data()
        while true {
            let part = output.fileHandleForReading.availableData
            guard !part.isEmpty else { throw CommandFailure("the model was not opened") }
            text += part
            guard let opened = try? JSONDecoder().decode(Opened.self, from: text) else { continue }
            return (Double(Timestamp.microseconds - start) / 1_000, opened)
        }
    }
}
