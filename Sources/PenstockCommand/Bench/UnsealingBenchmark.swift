// UnsealingBenchmark: how fast a container is decrypted and verified, beside what the machine can do at best.

import Cryptography
import Foundation
import Sealing
import SecureMemory

/// Seals a model of random bytes, opens it, and sets the speed beside AES-256-GCM and SHA-256 in series.
struct UnsealingBenchmark {
    struct Result: Encodable {
        var bytes: Int
        /// Best of the runs.
        var unsealBytesPerSecond: Double
        var isLocked: Bool
        /// `openssl speed` of the same machine in the same run.
        var cipherBytesPerSecond: Double
        var digestBytesPerSecond: Double
        /// 1 / (1/cipher + 1/digest).
        var boundBytesPerSecond: Double
        var ratio: Double
    }

    static func run(bytes: Int, runs: Int) throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "penstock-unseal-\(getpid())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let owner = try ECPrivateKey(generating: .p384)
        let key = try SecretBytes.makeDataKey()
        let now = Int64(Date().timeIntervalSince1970)
        let terms = SealingTerms(
            name: "benchmark", version: "1", serial: 1, owner: "benchmark",
            validity: .init(notBefore: now - 60, notAfter: now + 3_600), usage: .init(allow: [.inference]),
            policySHA256: String(repeating: "0", count: 64), created: now)
        let path = "\(folder)/model.smc"
        try ContainerWriter.seal(
            [SealedInput(name: "weights.bin", bytes: [UInt8](repeating: 0xa5, count: bytes))], terms: terms, key: key,
            signer: owner, to: path)
        var best = Double.infinity
        var isLocked = false
        for _ in 0..<runs {
            let container = try SealedContainer(path: path, trusting: TrustedOwners([owner.publicKey]))
            let clock = ContinuousClock()
            let start = clock.now
            let model = try container.open(with: key, lockMode: .bestEffort)
            best = min(best, start.duration(to: clock.now) / .seconds(1))
            isLocked = model.isLocked
        }
        let cipher = try speed(["-evp", "aes-256-gcm"])
        let digest = try speed(["-evp", "sha256"])
        let bound = 1 / (1 / cipher + 1 / digest)
        let unsealed = Double(bytes) / best
        return Result(
            bytes: bytes, unsealBytesPerSecond: unsealed, isLocked: isLocked, cipherBytesPerSecond: cipher,
            digestBytesPerSecond: digest, boundBytesPerSecond: bound, ratio: unsealed / bound)
    }

    /// Bytes a second with blocks of 16 KiB, as `openssl speed` says.
    private static func speed(_ arguments: [String]) throws -> Double {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = ["speed", "-mr", "-seconds", "2", "-bytes", "16384"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch {
            throw CommandFailure("`openssl` is needed for the bound: apt-get install openssl")
        }
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        // Machine-readable: +F:<index>:<name>:<bytes a second>
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("+F:") }),
            let value = line.split(separator: ":").last.flatMap({ Double($0) }), value > 0
        else { throw CommandFailure("`openssl speed` gave no figure") }
        return value
    }
}
