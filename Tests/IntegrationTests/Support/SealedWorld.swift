// SealedWorld: an owner with sealed copies of the trained model, key brokers, and consumers that open the model there.

import Foundation
import Glibc
import LocalDeployment
import ProcessControl
import Synchronization
import TestSupport

/// A key broker's process on a port that stays the same over restarts.
final class KeyBrokerProcess: Sendable {
    let folder: String
    let port: UInt16
    private let child = Mutex<ChildProcess?>(nil)

    var url: String { "https://127.0.0.1:\(port)" }
    var certificate: String { "\(folder)/certificate.pem" }

    /// - Parameter ownerKey: public key of the one owner, `acme`.
    init(_ folder: String, ownerKey: String) throws {
        self.folder = folder
        port = LoopbackPort.choose()
        let place = "\(folder)/owners/acme"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: ownerKey, toPath: "\(place)/owner.pem")
    }

    func start() async throws {
        let address = "\(folder)/address"
        unlink(address)
        let started = try TestProgram.start(
            "key-broker",
            [
                "--data", folder, "--port", "\(port)", "--address-file", address, "--allow-insecure-sample",
                "--exit-with-parent",
            ], outputPath: "\(folder)/key-broker.log")
        child.withLock { $0 = started }
        guard try await TestProgram.waitFor({ TestProgram.contents(of: address) }) != nil else {
            throw TestFailure("the key broker: \(TestProgram.contents(of: "\(folder)/key-broker.log") ?? "")")
        }
    }

    func kill() { child.withLock { $0 }?.kill() }
}

final class SealedWorld: Sendable {
    /// Seconds; short, so that a loss shows soon.
    static let lease = 2
    private let folder: TemporaryDirectory
    private let stack: Stack
    var ownerKey: String { folder.file("owner.pem") }

    init(_ stack: Stack) async throws {
        folder = try TemporaryDirectory()
        self.stack = stack
        try await penstock(["keygen", ownerKey])
    }

    func file(_ name: String) -> String { folder.file(name) }

    func broker(_ name: String) throws -> KeyBrokerProcess {
        try KeyBrokerProcess(folder.file(name), ownerKey: "\(ownerKey).pub")
    }

    /// Runs `penstock model …`, which must succeed.
    func penstock(_ arguments: [String]) async throws {
        let path = folder.file(TestBroker.uniqueName("output"))
        let child = try TestProgram.start("penstock", ["model"] + arguments, outputPath: path)
        guard try await onThread({ child.wait(timeoutMilliseconds: 60_000) }) == .exited(0) else {
            throw TestFailure("penstock model \(arguments): \(TestProgram.contents(of: path) ?? "")")
        }
    }

    private var terms: [String] { ["--owner", "acme", "--allow-insecure-sample", "--lease", "\(Self.lease)"] }

    /// Seals the trained model.
    func seal(_ path: String, serial: Int, key: String? = nil) async throws {
        try await penstock(
            ["seal", "\(try Artifacts.folder())/model.json", path, "--serial", "\(serial)", "--key", key ?? ownerKey]
                + terms)
    }

    func register(_ path: String, at broker: KeyBrokerProcess) async throws {
        try await penstock(["register", path, "--key", ownerKey] + terms + place(of: broker))
    }

    func revoke(_ path: String, at broker: KeyBrokerProcess) async throws {
        try await penstock(["revoke", path, "--key", ownerKey] + place(of: broker))
    }

    private func place(of broker: KeyBrokerProcess) -> [String] {
        ["--key-broker", broker.url, "--key-broker-certificate", broker.certificate]
    }

    /// A folder with the transform and this container; no plain model is in it.
    func artifacts(_ name: String, container: String) throws -> String {
        let target = folder.file(name)
        try FileManager.default.createDirectory(atPath: target, withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            atPath: "\(try Artifacts.folder())/transform.json", toPath: "\(target)/transform.json")
        try replace("\(target)/model.smc", by: container)
        return target
    }

    /// Puts a container in another's place, in one step.
    func replace(_ path: String, by container: String) throws {
        let pending = "\(path).pending"
        try FileManager.default.copyItem(atPath: container, toPath: pending)
        rename(pending, path)
    }

    /// An inference consumer of the stack's group, not started.
    func consumer(_ instance: String, artifacts: String, broker: KeyBrokerProcess) -> StageProcess {
        StageProcess(
            .inference, instance: instance,
            arguments: [
                "--pipeline", stack.directory, "--artifacts", artifacts, "--bootstrap-servers", stack.servers,
                "--group", stack.group(of: .inference), "--profile", stack.profile, "--exit-with-parent",
                "--set", "kafka.consumer.session.timeout.ms=3000", "--set", "kafka.consumer.heartbeat.interval.ms=200",
                "--trusted-owner", "\(ownerKey).pub", "--attestation", "sample", "--insecure-sample-attestation",
            ] + place(of: broker), environment: ["PENSTOCK_ALLOW_UNSEALED_MODEL": ""], directory: stack.directory)
    }
}

/// Looks into another process's memory, as root can.
enum ProcessMemory {
    /// How many of `needles` stand somewhere in what the kernel lets root read.
    static func found(_ needles: [Data], in pid: Int32) throws -> Int {
        let maps = TestProgram.contents(of: "/proc/\(pid)/maps") ?? ""
        let memory = try FileHandle(forReadingFrom: URL(filePath: "/proc/\(pid)/mem"))
        defer { try? memory.close() }
        var found: Set<Int> = []
        for line in maps.split(separator: "\n") {
            let words = line.split(separator: " ")
            let range = words[0].split(separator: "-")
            // Files are mapped as they are on the disk.
            guard words[1].hasPrefix("r"), words.count < 6 || line.hasSuffix("[heap]") || line.hasSuffix("[stack]"),
                let start = UInt64(range[0], radix: 16), let end = UInt64(range[1], radix: 16)
            else { continue }
            try? memory.seek(toOffset: start)
            guard let data = try? memory.read(upToCount: Int(end - start)) else { continue }
            for (number, needle) in needles.enumerated() where !found.contains(number) {
                if data.range(of: needle) != nil { found.insert(number) }
            }
        }
        return found.count
    }
}
