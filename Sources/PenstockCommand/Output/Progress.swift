// Progress: one live line on a terminal, a plain line now and then elsewhere.

import LocalDeployment

/// Shows the progress of work over two seconds on standard error.
struct Progress {
    /// Pause between two plain lines when nobody watches.
    static let plainMicroseconds: Int64 = 2_000_000
    static let liveMicroseconds: Int64 = 100_000

    private let title: String
    private let isLive: Bool
    private var lastShown: Int64 = 0
    private var lastText = ""

    init(_ title: String, isLive: Bool = Console.isErrorTerminal) {
        self.title = title
        self.isLive = isLive
    }

    /// - Parameter detail: figures to show behind the bar.
    mutating func show(done: Int, of total: Int, detail: String = "") {
        let now = Timestamp.microseconds
        guard now - lastShown >= (isLive ? Self.liveMicroseconds : Self.plainMicroseconds) else { return }
        lastShown = now
        let text = Self.line(title: title, done: done, of: total, detail: detail, hasBar: isLive)
        if isLive {
            Console.write("\r\u{1b}[K" + text.prefix(max(20, Console.columns - 1)), to: 2)
        } else if text != lastText {
            Console.note(text)
        }
        lastText = text
    }

    /// Ends the live line with a remark.
    mutating func finish(_ summary: String) {
        clear()
        Console.note(summary)
    }

    /// Removes the live line.
    mutating func clear() {
        guard !lastText.isEmpty else { return }
        if isLive { Console.write("\r\u{1b}[K", to: 2) }
        lastText = ""
    }

    static func line(title: String, done: Int, of total: Int, detail: String, hasBar: Bool) -> String {
        let share = total > 0 ? min(1, max(0, Double(done) / Double(total))) : 0
        let percent = "\(Int(share * 100))%"
        let figures = "\(String(repeating: " ", count: max(0, 4 - percent.count)))\(percent)"
        let counts = "\(Numbers.grouped(done))/\(Numbers.grouped(total))"
        guard hasBar else { return "\(title): \(counts) (\(percent))\(detail.isEmpty ? "" : ", \(detail)")" }
        let width = 24
        let filled = Int(share * Double(width))
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        return "\(title) \(bar)\(figures)  \(counts)\(detail.isEmpty ? "" : "  \(detail)")"
    }
}
