// LogTests: each log line is one JSON object.

import Foundation
import Logging
import Synchronization
import Testing

@testable import Observability

@Suite("Structured log")
struct LogTests {
    private final class Lines: Sendable {
        private let all = Mutex<[String]>([])
        var texts: [String] { all.withLock { $0 } }
        func append(_ bytes: [UInt8]) { all.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }
    }

    private func logger(_ lines: Lines, level: Logger.Level = .info, provider: Logger.MetadataProvider? = nil) -> Logger
    {
        Logger(label: "loop") { label in
            var handler = StructuredLogHandler(component: "test", label: label, level: level) { lines.append($0) }
            handler.metadataProvider = provider
            return handler
        }
    }

    private func object(_ line: String) throws -> [String: Any] {
        #expect(line.hasSuffix("}\n"))
        #expect(line.dropLast().allSatisfy { $0 != "\n" })
        return try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    @Test("A line holds time, level, component, message and metadata of every kind")
    func line() throws {
        let lines = Lines()
        var logger = logger(lines, provider: Logger.MetadataProvider { ["provided": "yes", "shadowed": "provider"] })
        logger[metadataKey: LogKey.stage] = "transform"
        logger[metadataKey: "shadowed"] = "logger"
        logger.warning(
            "Tab\t, quote \", line\nfeed, control \u{1}, ü ✓ \\",
            metadata: [
                LogKey.offset: .stringConvertible(Int64(42)), "ready": .stringConvertible(true),
                "ratio": .stringConvertible(0.5), "list": ["a", .stringConvertible(1)], "map": ["k": "v"],
                "message": "mine", "shadowed": "line",
            ])
        let object = try object(try #require(lines.texts.first))
        #expect(object["level"] as? String == "warning")
        #expect(object["component"] as? String == "test")
        #expect(object["logger"] as? String == "loop")
        #expect(object["message"] as? String == "Tab\t, quote \", line\nfeed, control \u{1}, ü ✓ \\")
        #expect(object["stage"] as? String == "transform")
        #expect(object["offset"] as? Int == 42)
        #expect(object["ready"] as? Bool == true)
        #expect(object["ratio"] as? String == "0.5")
        #expect(object["map"] as? [String: String] == ["k": "v"])
        #expect((object["list"] as? [Any])?.count == 2)
        #expect(object["metadata.message"] as? String == "mine")
        #expect(object["provided"] as? String == "yes")
        #expect(object["shadowed"] as? String == "line")
        #expect((object["time"] as? String)?.hasSuffix("Z") == true)
    }

    @Test("Lines below the level are not written")
    func level() {
        let lines = Lines()
        let logger = logger(lines, level: .warning)
        logger.info("no")
        logger.error("yes")
        #expect(lines.texts.count == 1)
    }

    @Test("Times are RFC 3339 in UTC, over leap days and before 1970")
    func times() {
        let cases: [(Int64, String)] = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ]
        for (microseconds, text) in cases { #expect(LogTime.text(microseconds) == text) }
    }
}
