// Console: what goes to the terminal, with colours and live lines only where a person watches.

import FoundationEssentials
import Glibc

enum Console {
    enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    static let isOutputTerminal = isatty(1) == 1
    static let isErrorTerminal = isatty(2) == 1
    private static let environment = ProcessInfo.processInfo.environment
    private static let allowsColour = environment["NO_COLOR"] == nil && environment["TERM"] != "dumb"

    /// Columns of the terminal, 100 elsewhere.
    static var columns: Int {
        var size = winsize()
        guard isErrorTerminal, ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }

    /// Results, to standard output.
    static func print(_ text: String = "") {
        write(text + "\n", to: 1)
    }

    /// Progress and remarks, to standard error.
    static func note(_ text: String) {
        write(text + "\n", to: 2)
    }

    static func styled(_ text: String, _ styles: Style..., isTerminal: Bool = isOutputTerminal) -> String {
        guard isTerminal, allowsColour, !styles.isEmpty else { return text }
        return "\u{1b}[\(styles.map(\.rawValue).joined(separator: ";"))m\(text)\u{1b}[0m"
    }

    static func heading(_ text: String) {
        print()
        print(styled(text, .bold))
    }

    static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array(text.utf8)
        var start = 0
        while start < bytes.count {
            let count = bytes[start...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            // A reader that went away (`penstock tail | head`) is no failure.
            guard count > 0 else { return }
            start += count
        }
    }

    /// A result as indented JSON with sorted keys.
    static func print(json value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// A result as one line of JSON.
    static func print(jsonLine value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
