// FrameTests: what the broker does with bytes that are not what it expects.

import EmbeddedLog
import NIOCore
import TestSupport
import Testing

@testable import EmbeddedBroker

@Suite("Frames")
struct FrameTests {
    /// A frame with a header of its own.
    static func frame(key: Int16, version: Int16, isFlexible: Bool, body: [UInt8]) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(Int32(0))
        buffer.writeInteger(key)
        buffer.writeInteger(version)
        buffer.writeInteger(Int32(7))
        buffer.writeInteger(Int16(1))
        buffer.writeString("t")
        if isFlexible { buffer.writeInteger(UInt8(0)) }
        buffer.writeBytes(body)
        buffer.setInteger(Int32(buffer.readableBytes - 4), at: 0)
        return Array(buffer.readableBytesView)
    }

    static let apiVersions = frame(key: 18, version: 0, isFlexible: false, body: [])

    @Test("ApiVersions in a version of the future is answered in version 0 with the versions there are")
    func unsupportedApiVersions() async throws {
        try await withBroker { broker in
            let client = try RawClient(port: broker.port)
            client.send(Self.frame(key: 18, version: 99, isFlexible: true, body: [1, 2, 3]))
            let answer = ByteBuffer(bytes: client.receive())
            #expect(answer.getInteger(at: 4, as: Int32.self) == 7)
            #expect(answer.getInteger(at: 8, as: Int16.self) == 35)
            #expect(answer.getInteger(at: 10, as: Int32.self) == Int32(APIKey.allCases.count))
        }
    }

    @Test("An unknown request, an unsupported version and an absurd length close the connection, not the broker")
    func refused() async throws {
        try await withBroker { broker in
            for bytes in [
                Self.frame(key: 999, version: 0, isFlexible: false, body: []),
                Self.frame(key: 0, version: 2, isFlexible: false, body: []),
                [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 1, 0],
                Self.frame(key: 3, version: 9, isFlexible: true, body: [0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
            ] {
                let client = try RawClient(port: broker.port)
                client.send(bytes)
                #expect(client.isClosed)
            }
            let client = try RawClient(port: broker.port)
            client.send(Self.apiVersions)
            #expect(!client.receive().isEmpty)
        }
    }

    @Test("Pipelined requests are answered in their order")
    func pipelining() async throws {
        try await withBroker { broker in
            let client = try RawClient(port: broker.port)
            client.send(Self.apiVersions + Self.apiVersions + Self.apiVersions)
            var received: [UInt8] = []
            let expected = 3 * (4 + 4 + 2 + 4 + 6 * APIKey.allCases.count)
            while received.count < expected {
                let more = client.receive()
                guard !more.isEmpty else { break }
                received += more
            }
            #expect(received.count == expected)
        }
    }

    @Test("Connections beyond the limit are closed")
    func connectionLimit() async throws {
        try await withBroker(
            configure: { $0.connectionsMax = 1 },
            body: { broker in
                let first = try RawClient(port: broker.port)
                first.send(Self.apiVersions)
                #expect(!first.receive().isEmpty)
                #expect(try RawClient(port: broker.port).isClosed)
            })
    }

    @Test("Thousands of damaged frames end in errors and closed connections; the broker goes on", arguments: [1, 2, 3])
    func fuzz(seed: UInt64) async throws {
        try await withBroker(
            configure: { $0.store.partitionsMax = 200 },
            body: { broker in
                try await broker.createTopic("t", partitions: 1)
                var numbers = SeededNumbers(state: seed)
                for _ in 0..<150 {
                    let client = try RawClient(port: broker.port)
                    for _ in 0..<10 { client.send(Self.damaged(&numbers)) }
                    client.finishSending()
                }
                let client = try RawClient(port: broker.port)
                client.send(Self.apiVersions)
                #expect(!client.receive().isEmpty)
            })
    }

    private static func damaged(_ numbers: inout SeededNumbers) -> [UInt8] {
        guard let key = APIKey.allCases.randomElement(using: &numbers) else { return [] }
        let version = Int16.random(in: key.versions, using: &numbers)
        var body: [UInt8] = []
        for _ in 0..<Int.random(in: 0...80, using: &numbers) {
            // Small numbers make for lengths that fit, and so for frames that get further.
            body.append(
                Bool.random(using: &numbers)
                    ? UInt8.random(in: 0...4, using: &numbers) : UInt8.random(in: 0...255, using: &numbers))
        }
        var bytes = frame(key: key.rawValue, version: version, isFlexible: key.isFlexible(version), body: body)
        if Int.random(in: 0..<20, using: &numbers) == 0, let place = bytes.indices.randomElement(using: &numbers) {
            bytes[place] = UInt8.random(in: 0...255, using: &numbers)
        }
        return bytes
    }
}
