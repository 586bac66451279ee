// FuzzTests: damaged requests by the thousand, against a broker process whose memory is watched.

import Glibc
import ProcessControl
import TestSupport
import Testing

@testable import EmbeddedBroker

/// Every request in every version, as kafka-python encodes it, is what the damage is done to.
@Suite("Damaged requests")
struct FuzzTests {
    /// More with PENSTOCK_FUZZ_FRAMES; another sequence with PENSTOCK_TEST_SEED.
    private static let frameCount = getenv("PENSTOCK_FUZZ_FRAMES").flatMap { Int(String(cString: $0)) } ?? 6_000
    private static let framesPerConnection = 20
    /// What damaged requests may add to the broker's peak memory: one frame decodes to at most 400,000 elements.
    private static let growthMebibytesMax = 96

    @Test("A broker that gets thousands of damaged requests goes on, and its memory stays bounded")
    func mutations() async throws {
        let directory = try TemporaryDirectory()
        var broker = KilledBroker(directory: directory, fsync: "none")
        try await broker.start()
        defer { broker.stop() }
        let process = try #require(broker.process)
        let port = try #require(broker.bootstrapServers.split(separator: ":").last.flatMap { Int($0) })
        let corpus = GoldenTests.messages.filter(\.isRequest)
        for golden in corpus { try Self.send([Self.frame(golden, golden.bytes)], port) }
        let before = try #require(Self.peakMebibytes(of: process.processID))
        var numbers = SeededNumbers(state: KillTests.seed)
        for _ in 0..<(Self.frameCount / Self.framesPerConnection) {
            let frames = (0..<Self.framesPerConnection).compactMap { _ in
                corpus.randomElement(using: &numbers).map { Self.frame($0, Self.damaged($0.bytes, &numbers)) }
            }
            try Self.send(frames, port)
        }
        #expect(process.exitStatus == nil, "seed \(KillTests.seed)")
        let client = try RawClient(port: port)
        client.send(FrameTests.apiVersions)
        #expect(!client.receive().isEmpty, "seed \(KillTests.seed)")
        let after = try #require(Self.peakMebibytes(of: process.processID))
        print("\(Self.frameCount) damaged requests, seed \(KillTests.seed): peak memory \(before) -> \(after) MiB")
        #expect(after - before < Self.growthMebibytesMax, "seed \(KillTests.seed)")
    }

    @Test("Unfinished requests of many connections are cut off at their common limit")
    func unfinishedRequests() async throws {
        try await withBroker(
            configure: { $0.receivedBytesMax = 4 << 20 },
            body: { broker in
                let clients = try (0..<8).map { _ in try RawClient(port: broker.port) }
                var beginning = [UInt8](repeating: 0, count: 1 << 20)
                // A request of 48 MiB, of which one comes.
                beginning[0] = 3
                for client in clients { client.send(beginning) }
                let closed = clients.filter(\.isClosed).count
                #expect(closed > 0 && closed < clients.count)
                let client = try RawClient(port: broker.port)
                client.send(FrameTests.apiVersions)
                #expect(!client.receive().isEmpty)
            })
    }

    private static func frame(_ golden: GoldenTests.Golden, _ body: [UInt8]) -> [UInt8] {
        FrameTests.frame(
            key: golden.key.rawValue, version: golden.version, isFlexible: golden.key.isFlexible(golden.version),
            body: body)
    }

    private static func send(_ frames: [[UInt8]], _ port: Int) throws {
        let client = try RawClient(port: port)
        for frame in frames { client.send(frame) }
        client.finishSending()
        client.drain()
    }

    /// One to four of: a byte changed, a length made huge, bytes cut out, bytes repeated, the end cut off.
    private static func damaged(_ bytes: [UInt8], _ numbers: inout SeededNumbers) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &numbers) {
            guard let place = bytes.indices.randomElement(using: &numbers) else { return bytes }
            let end = min(bytes.count, place + Int.random(in: 1...16, using: &numbers))
            switch Int.random(in: 0..<6, using: &numbers) {
            case 0: bytes[place] = UInt8.random(in: .min ... .max, using: &numbers)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
            case 2:
                let huge: [[UInt8]] = [
                    [0x7F, 0xFF, 0xFF, 0xFF], [0x7F, 0xFF], [0xFF, 0xFF, 0xFF, 0xFF, 0x07], [0, 6],
                ]
                let length = huge[Int.random(in: huge.indices, using: &numbers)]
                bytes.replaceSubrange(place..<min(bytes.count, place + length.count), with: length)
            case 3: bytes.removeSubrange(place..<end)
            case 4:
                let times = Int.random(in: 1...2_000, using: &numbers)
                bytes.insert(contentsOf: (0..<times).flatMap { _ in bytes[place..<end] }, at: place)
            default: bytes.removeSubrange(place...)
            }
        }
        return bytes
    }

    /// The largest resident size a process ever had.
    private static func peakMebibytes(of process: Int32) -> Int? {
        TestProgram.contents(of: "/proc/\(process)/status")?.split(separator: "\n")
            .first { $0.hasPrefix("VmHWM:") }.flatMap { Int($0.filter(\.isNumber)) }.map { $0 >> 10 }
    }
}
