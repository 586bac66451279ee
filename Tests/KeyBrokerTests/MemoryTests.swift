// MemoryTests: what other processes, core dumps and children can see of an opened model.

import Attestation
import Cryptography
import Foundation
import Glibc
import KeyBroker
import ProcessControl
import SealedModels
import TestSupport
import Testing

@testable import Sealing
@testable import SecureMemory

/// A process that holds an opened model, as an unprivileged user: root attaches whatever a process says.
private final class Holder {
    struct Report: Decodable {
        var pid: Int32
        var address: String
        var bytes: Int
        var isLocked: Bool
        var protection: ProtectionReport
    }

    static let user = 65_534
    let process = Process()
    let report: Report
    private let input = Pipe()

    init(_ arguments: [String], directory: String) throws {
        let output = Pipe()
        // Where core files are off by default, a test of them would show nothing.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/prlimit")
        process.arguments =
            [
                "--core=unlimited:unlimited", "/usr/bin/setpriv", "--reuid=\(Self.user)", "--regid=\(Self.user)",
                "--clear-groups",
                "\(TestProgram.productsDirectory)/penstock", "model", "hold",
            ]
            + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.standardError
        try process.run()
        var text = Data()
        while !text.contains(0x7d) || !text.suffix(3).contains(0x7d) {
            let part = output.fileHandleForReading.availableData
            guard !part.isEmpty else { break }
            text += part
            if (try? JSONDecoder().decode(Report.self, from: text)) != nil { break }
        }
        report = try JSONDecoder().decode(Report.self, from: text)
    }

    deinit {
        try? input.fileHandleForWriting.close()
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// Whether a process of the same user can read a byte of this one's memory.
    func isReadableBySameUser() throws -> Bool {
        let address = try #require(UInt(report.address.dropFirst(2), radix: 16))
        let reader = Process()
        reader.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        reader.arguments = [
            "--reuid=\(Self.user)", "--regid=\(Self.user)", "--clear-groups", "/bin/dd", "if=/proc/\(report.pid)/mem",
            "of=/dev/null", "bs=1", "count=1", "skip=\(address)", "iflag=skip_bytes",
        ]
        reader.standardError = FileHandle.nullDevice
        try reader.run()
        reader.waitUntilExit()
        return reader.terminationStatus == 0
    }

    /// The flags of the mapping that holds the model.
    func flags() throws -> Set<String> {
        let address = try #require(UInt(report.address.dropFirst(2), radix: 16))
        let maps = try #require(TestProgram.contents(of: "/proc/\(report.pid)/smaps"))
        var isInside = false
        for line in maps.split(separator: "\n") {
            let range = line.prefix { $0 != " " }.split(separator: "-")
            if range.count == 2, let start = UInt(range[0], radix: 16), let end = UInt(range[1], radix: 16) {
                isInside = start <= address && address < end
            } else if isInside, line.hasPrefix("VmFlags:") {
                return Set(line.dropFirst("VmFlags:".count).split(separator: " ").map(String.init))
            }
        }
        return []
    }

    /// How often `needle` stands in the memory that the kernel lets root read.
    func occurrences(of needle: Data) throws -> Int {
        let maps = try #require(TestProgram.contents(of: "/proc/\(report.pid)/maps"))
        let memory = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(report.pid)/mem"))
        defer { try? memory.close() }
        var count = 0
        for line in maps.split(separator: "\n") {
            let words = line.split(separator: " ")
            let range = words[0].split(separator: "-")
            // Files are mapped as they are on the disk; secrets could be in memory of the process's own.
            guard words[1].hasPrefix("r"), words.count < 6 || line.hasSuffix("[heap]") || line.hasSuffix("[stack]"),
                let start = UInt64(range[0], radix: 16), let end = UInt64(range[1], radix: 16)
            else { continue }
            try? memory.seek(toOffset: start)
            guard let data = try? memory.read(upToCount: Int(end - start)) else { continue }
            var from = data.startIndex
            while let found = data[from...].range(of: needle) {
                count += 1
                from = found.upperBound
            }
        }
        return count
    }
}

@Suite("Memory of an opened model", .enabled(if: getuid() == 0, "needs root to become an unprivileged user"))
struct MemoryTests {
    private static let canary = Array("canary in the weights of this model".utf8)

    private func model(_ bench: Bench) throws -> SealedContainer {
        let sealer = try bench.sealer()
        let path = bench.folder.file("model.smc")
        let manifest = #"""
            {"format":1,"name":"tiny","version":"1","contract":"0123456789abcdef","features":["a"],"onnx":"model.onnx",
            "onnxSHA256":"\#(String(repeating: "0", count: 64))","outputs":{"score":"p"},"threshold":0.5,"metrics":{}}
            """#
        var weights = [UInt8](repeating: 7, count: 300_000)
        weights.replaceSubrange(1_000..<1_000 + Self.canary.count, with: Self.canary)
        _ = try sealer.seal(
            [
                SealedInput(name: "model.json", bytes: Array(manifest.utf8)),
                SealedInput(name: "model.onnx", bytes: weights),
            ],
            name: "tiny", version: "1", serial: 5, usage: .init(allow: [.inference]), to: path)
        let container = try SealedContainer(path: path, trusting: TrustedOwners([bench.owner.publicKey]))
        #expect(try bench.registerAll(container, sealer).status == 200)
        return container
    }

    private func arguments(_ bench: Bench, port: Int) throws -> [String] {
        // Readable by the unprivileged user.
        for path in [bench.folder.path, bench.brokerFolder] { chmod(path, 0o755) }
        try KeyFile.write(bench.owner.publicKey, to: bench.folder.file("owner.pub"))
        return [
            bench.folder.file("model.smc"), "--owner-key", bench.folder.file("owner.pub"), "--key-broker",
            "https://127.0.0.1:\(port)", "--key-broker-certificate",
            BrokerIdentity.certificatePath(bench.brokerFolder), "--insecure-sample-attestation",
        ]
    }

    @Test("is closed to a process of the same user, out of core dumps, locked, and holds no copy of the key")
    func protection() async throws {
        let bench = try Bench()
        let container = try model(bench)
        let clock = bench.clock
        let server = try await KeyBrokerServer.start(
            bench.service, host: "127.0.0.1", port: 0,
            tls: (
                certificate: BrokerIdentity.certificatePath(bench.brokerFolder),
                key: BrokerIdentity.keyPath(bench.brokerFolder)
            ),
            clock: { clock.now })
        let arguments = try arguments(bench, port: server.port)
        let key = try container.dataKey(with: bench.owner)
        let raw = key.withBytes { bytes in bytes.withUnsafeBytes { Data($0) } }
        let core = try Folder()
        chmod(core.path, 0o777)
        try await onBlockingThread {
            let hardened = try Holder(arguments, directory: core.path)
            // The control: without hardening the same reader gets in, or the test would show nothing.
            let open = try Holder(arguments + ["--unhardened"], directory: core.path)
            #expect(try open.isReadableBySameUser())
            #expect(try !hardened.isReadableBySameUser())
            let (active, bare) = (hardened.report.protection, open.report.protection)
            #expect(active.isCoreOff && active.isUndumpable && active.hasCallFilter && !bare.isUndumpable)
            #expect(active.hasWriteConfinement == (active.landlockVersion > 0) && !bare.hasWriteConfinement)
            let flags = try hardened.flags()
            #expect(flags.contains("dd") && flags.contains("wf"), "\(flags)")
            #expect(flags.contains("lo") == hardened.report.isLocked && hardened.report.isLocked, "\(flags)")
            let limits = try #require(TestProgram.contents(of: "/proc/\(hardened.report.pid)/limits"))
            let coreLine = try #require(limits.split(separator: "\n").first { $0.hasPrefix("Max core file size") })
            #expect(coreLine.split(whereSeparator: \.isWhitespace).dropFirst(4).first == "0", "\(coreLine)")
            // The weights are there, which shows that the scan finds what there is; the key is not.
            #expect(try open.occurrences(of: Data(Self.canary)) >= 1)
            for holder in [open, hardened] {
                #expect(try holder.occurrences(of: raw) == 0)
                #expect(try holder.occurrences(of: Data(Base64.encodeURL(Array(raw)).utf8)) == 0)
            }
            kill(hardened.report.pid, SIGABRT)
            hardened.process.waitUntilExit()
            let files = try FileManager.default.contentsOfDirectory(atPath: core.path)
            #expect(files.isEmpty, "\(files)")
        }
        await server.shutdown()
    }

    @Test("is zero in a child")
    func child() throws {
        let region = try ProtectedRegion(byteCount: 100, mode: .bestEffort)
        region.withMutableBytes { bytes in bytes.withUnsafeMutableBytes { for index in $0.indices { $0[index] = 5 } } }
        // VmFlags of this very mapping: wiped in a forked child, left out of dumps.
        let address = UInt(bitPattern: region.start)
        let maps = try #require(TestProgram.contents(of: "/proc/self/smaps"))
        let head = String(address, radix: 16)
        let tail = try #require(maps.components(separatedBy: "\n\(head)-").last)
        let flags = try #require(tail.split(separator: "\n").first { $0.hasPrefix("VmFlags:") })
        #expect(flags.contains(" wf") && flags.contains(" dd"))
        region.wipe()
        #expect(region.withBytes { bytes in bytes.withUnsafeBytes { $0.allSatisfy { $0 == 0 } } })
    }

    @Test("is refused in the mode `required` where pages could go to a swap device, and only there")
    func swap() throws {
        let root = try Folder()
        for path in ["proc/self", "sys/fs/cgroup/service/consumer"] {
            try FileManager.default.createDirectory(atPath: root.file(path), withIntermediateDirectories: true)
        }
        func write(_ path: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: root.file(path)))
        }
        try write("proc/swaps", "Filename Type Size Used Priority\n")
        try write("proc/self/cgroup", "0::/service/consumer\n")
        try ProcessHardening.checkSwap(.required, root: root.path)
        try write("proc/swaps", "Filename Type Size Used Priority\n/swapfile file 1048572 0 -2\n")
        let refusal = #expect(throws: SecureMemoryError.self) {
            try ProcessHardening.checkSwap(.required, root: root.path)
        }
        #expect(refusal?.code == .swapIsOn)
        try ProcessHardening.checkSwap(.bestEffort, root: root.path)
        // A control group above forbids it.
        try write("sys/fs/cgroup/service/memory.swap.max", "0\n")
        try ProcessHardening.checkSwap(.required, root: root.path)
    }

    @Test("is refused in the mode `required` when it cannot be locked")
    func lockLimit() throws {
        // An unprivileged process with a limit of 64 KiB.
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        let output = Pipe()
        process.arguments = [
            "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/prlimit", "--memlock=65536:65536",
            "\(TestProgram.productsDirectory)/penstock", "doctor", "--output", "json", "--data", "/tmp",
        ]
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(text.contains("lockable 64 KiB"), "\(text)")
    }

    @Test("of a model that must be locked is refused by a consumer whose limit is lower, and given by one that may")
    func requiredLock() async throws {
        let bench = try Bench()
        _ = try model(bench)
        let clock = bench.clock
        let server = try await KeyBrokerServer.start(
            bench.service, host: "127.0.0.1", port: 0,
            tls: (
                certificate: BrokerIdentity.certificatePath(bench.brokerFolder),
                key: BrokerIdentity.keyPath(bench.brokerFolder)
            ),
            clock: { clock.now })
        let arguments = try arguments(bench, port: server.port) + ["--lock-mode", "required"]
        try await onBlockingThread {
            func hold(limit: Int) throws -> (status: Int32, text: String) {
                let process = Process()
                let (output, input) = (Pipe(), Pipe())
                process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
                process.arguments =
                    [
                        "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/prlimit",
                        "--memlock=\(limit):\(limit)", "\(TestProgram.productsDirectory)/penstock", "model", "hold",
                    ] + arguments
                process.standardInput = input
                process.standardOutput = output
                process.standardError = output
                try process.run()
                try input.fileHandleForWriting.close()
                let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                return (process.terminationStatus, text)
            }
            let refused = try hold(limit: 200_000)
            #expect(refused.status == 1 && refused.text.contains("cannot be locked in memory"), "\(refused.text)")
            let given = try hold(limit: 8 << 20)
            #expect(given.status == 0 && given.text.contains("\"isLocked\""), "\(given.text)")
        }
        await server.shutdown()
    }
}

/// Runs blocking code outside the cooperative pool.
func onBlockingThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try body() }) }.start()
    }
}
