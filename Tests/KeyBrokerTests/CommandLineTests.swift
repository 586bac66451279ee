// CommandLineTests: the owner's tools as programs: keys with a passphrase, seal, inspect, verify, rewrap, audit.

import Attestation
import Cryptography
import Foundation
import KeyBroker
import SecureMemory
import TestSupport
import Testing

@testable import Sealing

@Suite("The owner's tools")
struct CommandLineTests {
    private static let manifest = #"""
        {"format":1,"name":"tiny","version":"1","contract":"0123456789abcdef","features":["a"],"onnx":"model.onnx",
        "onnxSHA256":"\#(String(repeating: "0", count: 64))","outputs":{"score":"p"},"threshold":0.5,"metrics":{}}
        """#

    /// Runs `penstock model …` without a terminal.
    private func model(_ arguments: [String], passphrase: String? = nil) throws -> (status: Int32, text: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "\(TestProgram.productsDirectory)/penstock")
        process.arguments = ["model"] + arguments
        var environment = ProcessInfo.processInfo.environment
        environment["PENSTOCK_PASSPHRASE"] = passphrase
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test("A key with a passphrase is made, seals, verifies and rewraps; without the passphrase it does nothing")
    func passphrase() throws {
        let folder = try Folder()
        let (owner, escrow) = (folder.file("owner.pem"), folder.file("escrow.jwk"))
        let short = try model(["keygen", owner, "--passphrase"], passphrase: "short")
        #expect(short.status == 2 && !FileManager.default.fileExists(atPath: owner), "\(short.text)")
        #expect(try model(["keygen", owner, "--passphrase"], passphrase: "correct horse").status == 0)
        #expect(try mode(owner) == 0o600)
        #expect(try String(contentsOfFile: owner, encoding: .utf8).contains("ENCRYPTED PRIVATE KEY"))
        #expect(try model(["keygen", owner]).status == 1, "a key is never overwritten")
        #expect(try model(["keygen", escrow, "--form", "jwk"]).status == 0)
        #expect(try mode(escrow) == 0o600)

        try Data(Self.manifest.utf8).write(to: URL(fileURLWithPath: folder.file("model.json")))
        let weights = "weights that nobody may read"
        try Data(weights.utf8).write(to: URL(fileURLWithPath: folder.file("model.onnx")))
        let sealed = folder.file("model.smc")
        let seal = [
            "seal", folder.file("model.json"), sealed, "--key", owner, "--owner", "acme", "--allow-insecure-sample",
        ]
        for wrong in [nil, "wrong horse"] {
            let refused = try model(seal, passphrase: wrong)
            #expect(refused.status == 1 && refused.text.contains("passphrase"), "\(refused.text)")
        }
        #expect(try model(seal, passphrase: "correct horse").status == 0)

        let shown = try model(["inspect", sealed])
        #expect(shown.status == 0 && shown.text.contains("acme") && shown.text.contains("model.onnx"))
        #expect(!shown.text.contains(weights))
        let verify = ["verify", sealed, "--owner-key", "\(owner).pub", "--key", owner]
        #expect(try model(verify, passphrase: "correct horse").status == 0)
        #expect(try model(verify, passphrase: "wrong horse").status == 1)
        let stranger = try model(["verify", sealed, "--owner-key", "\(escrow).pub"])
        #expect(stranger.status == 1 && stranger.text.contains("trusted owners"), "\(stranger.text)")

        let second = folder.file("second.smc")
        let rewrap = ["rewrap", sealed, second, "--key", owner, "--to", "\(escrow).pub"]
        #expect(try model(rewrap, passphrase: "correct horse").status == 0)
        let trust = TrustedOwners([try KeyFile.publicKey("\(owner).pub")])
        let container = try SealedContainer(path: second, trusting: trust)
        _ = try container.open(with: try container.dataKey(with: try KeyFile.privateKey(escrow)), lockMode: .off)
    }

    @Test("An audit is verified from its file; a changed or shortened one is named")
    func audit() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        _ = try bench.registerAll(try bench.seal(sealer), sealer)
        _ = try bench.freshRelease()
        let path = "\(bench.brokerFolder)/audit.ndjson"
        let arguments = ["audit", path, "--broker-key", "\(bench.brokerFolder)/signing.pub.pem"]
        let good = try model(arguments)
        #expect(good.status == 0 && good.text.contains("release.granted"), "\(good.text)")
        #expect(good.text.contains("verified"), "\(good.text)")
        #expect(try model(arguments + ["--events-min", "99"]).status == 1)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try text.replacing("\"outcome\":\"released\"", with: "\"outcome\":\"releaseD\"")
            .write(toFile: path, atomically: true, encoding: .utf8)
        let changed = try model(arguments)
        #expect(changed.status == 1 && changed.text.contains("was changed"), "\(changed.text)")
    }
}
