// KillTests: the broker is killed under load, again and again; what it acknowledged stays, what was aborted stays unseen.

import Glibc
import Kafka
import ProcessControl
import TestSupport
import Testing

@Suite("Kill -9 of the broker", .serialized)
struct KillTests {
    /// Random unless PENSTOCK_TEST_SEED replays a run.
    static let seed: UInt64 =
        getenv("PENSTOCK_TEST_SEED").flatMap { UInt64(String(cString: $0)) } ?? UInt64.random(in: 0...UInt64.max)
    /// A few in the suite; PENSTOCK_BROKER_KILLS=200 for the long run.
    static let killCount = getenv("PENSTOCK_BROKER_KILLS").flatMap { Int(String(cString: $0)) } ?? 6
    private static let waitMilliseconds = 60_000

    @Test(
        "Kills under load lose no acknowledged record, show no aborted one, and groups go on where they committed",
        arguments: ["none", "group"])
    func kills(fsync: String) async throws {
        print("Kill test of the broker: replay it with PENSTOCK_TEST_SEED=\(Self.seed)")
        let directory = try TemporaryDirectory()
        var broker = KilledBroker(directory: directory, fsync: fsync)
        try await broker.start()
        let ledger = KillLedger(partitions: KillLoad.partitions)
        let load = KillLoad(bootstrapServers: broker.bootstrapServers, ledger: ledger, seed: Self.seed)
        let clients = [load.write, load.transact, load.consume].map { body in
            Task {
                await withCheckedContinuation { done in
                    Threads.start(named: "client") {
                        body(); done.resume()
                    }
                }
            }
        }
        var numbers = SeededNumbers(state: Self.seed)
        do {
            for number in 1...Self.killCount { try await kill(&broker, number, ledger, &numbers) }
        } catch {
            Issue.record("seed \(Self.seed): \(error)")
        }
        ledger.stop()
        for client in clients { await client.value }
        try KillAudit(load: load).check()
        let state = ledger.withState { [$0.acknowledgedCount, $0.transactions.count, $0.commitCount] }
        print(
            "\(Self.killCount) kills, fsync \(fsync), seed \(Self.seed): \(state[0]) records acknowledged, "
                + "\(state[1]) transactions, \(state[2]) group commits")
        broker.stop()
    }

    /// Kills at a moment that chance picked among the clients' steps, and starts the broker again.
    private func kill(
        _ broker: inout KilledBroker, _ number: Int, _ ledger: KillLedger, _ numbers: inout SeededNumbers
    ) async throws {
        let delay = UInt32.random(in: 0...3_000, using: &numbers)
        let process = broker.process
        let strike: @Sendable () -> Void = {
            // On a thread of its own, so that the client goes on into the request that dies.
            Threads.start(named: "killer") {
                usleep(delay)
                process?.kill()
            }
        }
        switch Int.random(in: 0..<3, using: &numbers) {
        case 0: ledger.arm(.acknowledgement, after: Int.random(in: 100...3_000, using: &numbers), kill: strike)
        case 1: ledger.arm(.transactionEnd, after: Int.random(in: 1...8, using: &numbers), kill: strike)
        default: ledger.arm(.groupCommit, after: Int.random(in: 1...8, using: &numbers), kill: strike)
        }
        let died = try await TestProgram.waitFor(timeoutMilliseconds: Self.waitMilliseconds) {
            ledger.hasStruck ? process?.exitStatus : nil
        }
        guard died != nil else { throw KillTestError("kill \(number): the clients stood still") }
        try await broker.start()
    }
}

struct KillTestError: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// A broker process that always comes back at the same address.
struct KilledBroker {
    let directory: TemporaryDirectory
    let fsync: String
    private(set) var process: ChildProcess?
    private(set) var bootstrapServers = ""

    init(directory: TemporaryDirectory, fsync: String) {
        self.directory = directory
        self.fsync = fsync
    }

    mutating func start() async throws {
        let address = directory.file("address")
        unlink(address)
        let child = try TestProgram.start(
            "embedded-broker",
            [
                "--data", directory.file("log"), "--address-file", address, "--exit-with-parent", "--fsync", fsync,
                "--listen", bootstrapServers.isEmpty ? "127.0.0.1:0" : bootstrapServers,
                "--topic", "\(KillLoad.plainTopic):\(KillLoad.partitions)",
                "--topic", "\(KillLoad.transactionTopic):\(KillLoad.partitions)",
            ], outputPath: directory.file("output"))
        process = child
        let found = try await TestProgram.waitFor(timeoutMilliseconds: 60_000) {
            child.exitStatus == nil ? TestProgram.contents(of: address) : ""
        }
        guard let found, !found.isEmpty else {
            throw KillTestError(
                "the broker did not start: \(TestProgram.contents(of: directory.file("output"))?.suffix(600) ?? "")")
        }
        bootstrapServers = found.filter { !$0.isWhitespace }
    }

    func stop() { process?.stop(graceMilliseconds: 20_000) }
}
