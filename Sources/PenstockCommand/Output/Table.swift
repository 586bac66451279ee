// Table: aligned columns that stay readable at 100 characters.

/// A text table. Cells are plain text. On a terminal, a line that would not fit is cut; a file or pipe gets all of it.
struct Table {
    enum Alignment { case left, right }

    struct Column {
        var title: String
        var alignment: Alignment

        static func left(_ title: String) -> Column { Column(title: title, alignment: .left) }
        static func right(_ title: String) -> Column { Column(title: title, alignment: .right) }
    }

    static let separator = "  "

    let columns: [Column]
    private(set) var rows: [[String]] = []
    var widthMax = Console.isOutputTerminal ? max(100, Console.columns) : Int.max

    init(_ columns: Column...) {
        self.columns = columns
    }

    init(columns: [Column]) {
        self.columns = columns
    }

    /// Missing cells are empty, cells beyond the last column are left out.
    mutating func add(_ cells: String...) { add(cells: cells) }

    mutating func add(cells: [String]) {
        rows.append((0..<columns.count).map { $0 < cells.count ? cells[$0] : "" })
    }

    /// Header, rule and rows, without a line end after the last.
    var lines: [String] {
        let widths = columns.indices.map { column in
            max(columns[column].title.count, rows.map { $0[column].count }.max() ?? 0)
        }
        let header = line(columns.map(\.title), widths)
        return [header, String(repeating: "-", count: min(widthMax, widths.reduce(0, +) + 2 * (widths.count - 1)))]
            + rows.map { line($0, widths) }
    }

    var text: String { lines.joined(separator: "\n") }

    private func line(_ cells: [String], _ widths: [Int]) -> String {
        var result = ""
        for column in columns.indices {
            if column > 0 { result += Self.separator }
            let padding = String(repeating: " ", count: widths[column] - cells[column].count)
            result += columns[column].alignment == .left ? cells[column] + padding : padding + cells[column]
        }
        while result.last == " " { result.removeLast() }
        guard result.count > widthMax else { return result }
        return result.prefix(widthMax - 1) + "…"
    }
}
