// CSV: comma-separated files with a header line (RFC 4180: quotes, doubled quotes, line breaks within quotes).

import FoundationEssentials

struct CSV {
    let path: String
    let header: [String]
    let rows: [[String]]

    init(path: String) throws(CommandFailure) {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw CommandFailure("cannot read \(path): name a readable CSV file with a header line")
        }
        try self.init(path: path, bytes: Array(data))
    }

    init(path: String, bytes: [UInt8]) throws(CommandFailure) {
        self.path = path
        var records = try Self.records(path: path, bytes: bytes)
        guard !records.isEmpty else { throw CommandFailure("\(path) is empty: its first line must name the columns") }
        let names = records.removeFirst()
        header = names
        if let index = records.firstIndex(where: { $0.count != names.count }) {
            throw CommandFailure(
                "\(path), record \(index + 2): \(records[index].count) cells, but the header names \(names.count)")
        }
        rows = records
    }

    func index(of column: String) throws(CommandFailure) -> Int {
        guard let index = header.firstIndex(of: column) else {
            throw CommandFailure("\(path) has no column '\(column)': it has \(header.joined(separator: ", "))")
        }
        return index
    }

    private static func records(path: String, bytes: [UInt8]) throws(CommandFailure) -> [[String]] {
        let quote = UInt8(ascii: "\""), comma = UInt8(ascii: ","), lineFeed = UInt8(ascii: "\n")
        var records: [[String]] = []
        var cells: [String] = []
        var cell: [UInt8] = []
        var isQuoted = false
        var index = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
        func text() -> String { String(decoding: cell, as: UTF8.self) }
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if isQuoted {
                if byte != quote {
                    cell.append(byte)
                } else if index < bytes.count, bytes[index] == quote {
                    cell.append(quote)
                    index += 1
                } else {
                    isQuoted = false
                }
            } else if byte == quote {
                isQuoted = true
            } else if byte == comma {
                cells.append(text())
                cell.removeAll()
            } else if byte == lineFeed {
                if cell.last == UInt8(ascii: "\r") { cell.removeLast() }
                cells.append(text())
                cell.removeAll()
                if cells != [""] { records.append(cells) }
                cells = []
            } else {
                cell.append(byte)
            }
        }
        guard !isQuoted else { throw CommandFailure("\(path) ends within quotes: close the last quoted cell") }
        if !cell.isEmpty || !cells.isEmpty { records.append(cells + [text()]) }
        return records
    }
}
