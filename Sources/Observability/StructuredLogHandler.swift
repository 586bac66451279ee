// StructuredLogHandler: one JSON object per log line, on standard error.

import Glibc
public import Logging

/// Writes `{"time":…,"level":…,"message":…,"component":…,…metadata}` and a line feed in one `write`, so that lines of
/// several threads never mix. Metadata keys stand beside the fixed ones; one that equals a fixed one gets the prefix
/// `metadata.`.
public struct StructuredLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    private let component: String
    private let label: String
    private let write: @Sendable ([UInt8]) -> Void

    /// - Parameters:
    ///   - component: the process, for instance `transform-consumer`.
    ///   - label: the logger's label.
    ///   - write: takes a whole line; standard error by default.
    public init(
        component: String, label: String, level: Logger.Level = .info,
        write: @escaping @Sendable ([UInt8]) -> Void = StructuredLogHandler.writeToStandardError
    ) {
        self.component = component
        self.label = label
        self.logLevel = level
        self.write = write
    }

    /// Makes all loggers of the process write through this handler. Once per process, in `main`.
    public static func bootstrap(component: String, level: Logger.Level) {
        LoggingSystem.bootstrap { label in
            StructuredLogHandler(component: component, label: label, level: level)
        }
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var line = JSONLine()
        line.add("time", LogTime.text(LogTime.nowMicroseconds))
        line.add("level", event.level.rawValue)
        line.add("component", component)
        if label != component { line.add("logger", label) }
        line.add("message", event.message.description)
        if let error = event.error { line.add(LogKey.error, "\(error)") }
        var all = metadataProvider?.get() ?? [:]
        all.merge(metadata) { $1 }
        if let own = event.metadata { all.merge(own) { $1 } }
        for key in all.keys.sorted() {
            guard let value = all[key] else { continue }
            line.add(Self.reserved.contains(key) ? "metadata.\(key)" : key, value)
        }
        write(line.finish())
    }

    private static let reserved: Set<String> = ["time", "level", "component", "logger", "message"]

    /// Writes bytes to file descriptor 2, whole unless the descriptor fails.
    @Sendable public static func writeToStandardError(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let written = bytes.withUnsafeBytes { buffer in
                Glibc.write(STDERR_FILENO, buffer.baseAddress?.advanced(by: start), buffer.count - start)
            }
            if written < 0 && errno == EINTR { continue }
            // Nobody reads the log any more: there is no place left to say so.
            guard written > 0 else { return }
            start += written
        }
    }
}

/// A JSON object on one line, built by hand: a log line must not cost a Foundation encoder.
struct JSONLine {
    private var bytes: [UInt8] = Array("{".utf8)

    mutating func add(_ key: String, _ value: String) {
        addKey(key)
        addString(value)
    }

    mutating func add(_ key: String, _ value: Logger.MetadataValue) {
        addKey(key)
        addValue(value)
    }

    mutating func finish() -> [UInt8] {
        bytes.append(contentsOf: "}\n".utf8)
        return bytes
    }

    private mutating func addKey(_ key: String) {
        if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
        addString(key)
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func addValue(_ value: Logger.MetadataValue) {
        switch value {
        case .string(let text): addString(text)
        case .stringConvertible(let convertible): addConvertible(convertible)
        case .array(let values):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in values.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                addValue(element)
            }
            bytes.append(UInt8(ascii: "]"))
        case .dictionary(let values):
            bytes.append(UInt8(ascii: "{"))
            for (index, key) in values.keys.sorted().enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                addString(key)
                bytes.append(UInt8(ascii: ":"))
                if let element = values[key] { addValue(element) }
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    /// Integers and truth values stay what they are; everything else becomes text.
    private mutating func addConvertible(_ value: any CustomStringConvertible) {
        if value is any FixedWidthInteger || value is Bool {
            bytes.append(contentsOf: value.description.utf8)
        } else {
            addString(value.description)
        }
    }

    private mutating func addString(_ text: String) { JSONText.append(text, to: &bytes) }
}

/// JSON strings.
enum JSONText {
    private static let hexDigits = Array("0123456789abcdef".utf8)

    static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes.append(contentsOf: "\\\"".utf8)
            case UInt8(ascii: "\\"): bytes.append(contentsOf: "\\\\".utf8)
            case UInt8(ascii: "\n"): bytes.append(contentsOf: "\\n".utf8)
            case UInt8(ascii: "\r"): bytes.append(contentsOf: "\\r".utf8)
            case UInt8(ascii: "\t"): bytes.append(contentsOf: "\\t".utf8)
            case 0..<0x20:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(hexDigits[Int(byte >> 4)])
                bytes.append(hexDigits[Int(byte & 15)])
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    static func string(_ text: String) -> String {
        var bytes: [UInt8] = []
        append(text, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
