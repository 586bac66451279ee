// Heartbeat: what every process tells on `<p>.telemetry` each second. Layout: docs/formats.md.

/// A sign of life with a few figures. Times are wall clock.
public struct Heartbeat: Sendable, Codable, Equatable {
    public var v = 1
    public var program: String
    /// One program may serve several stages.
    public var stage: String
    public var instance: String
    public var pid: Int32
    public var at: EventTime
    public var isReady: Bool
    /// Why it is not ready, one sentence each.
    public var reasons: [String]
    /// The process stops on purpose: its silence is no failure.
    public var isLast: Bool
    /// Totals since the start of the process: `consumed`, `produced`, `deadLetters`.
    public var figures: [String: Double]

    public init(
        program: String, stage: String, instance: String, pid: Int32, at: EventTime, isReady: Bool, reasons: [String],
        isLast: Bool,
        figures: [String: Double]
    ) {
        self.program = program
        self.stage = stage
        self.instance = instance
        self.pid = pid
        self.at = at
        self.isReady = isReady
        self.reasons = reasons
        self.isLast = isLast
        self.figures = figures
    }

    public func encoded() throws(RecordFormatError) -> [UInt8] { try RecordJSON.encode(self) }

    public static func decode(_ bytes: [UInt8]) throws(RecordFormatError) -> Heartbeat {
        let heartbeat = try RecordJSON.decode(Heartbeat.self, from: bytes)
        guard heartbeat.v == 1 else {
            throw RecordFormatError(
                .unsupportedFormatVersion, "this reader knows format version 1 of heartbeats: upgrade it")
        }
        return heartbeat
    }
}
