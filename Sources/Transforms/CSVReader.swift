// CSVReader: reads comma-separated values record by record, in bounded memory (RFC 4180).

public import Cryptography

/// A streaming reader of RFC 4180 text: quoted fields, doubled quotes, line breaks within quotes, LF or CRLF. The first
/// record is the header; every other one must have as many fields. Lines without any character are skipped.
///
///     var reader = try CSVReader.open(path: path)
///     while try reader.next() { print(reader.line, try reader.number(0) ?? "missing") }
public struct CSVReader: ~Copyable {
    /// Bytes of one record: a quote that is never closed must not read the whole file into memory.
    public static let recordBytesMax = 1 << 20

    public let path: String
    public private(set) var header: [String] = []
    /// Line on which the current record starts, counted from 1.
    public private(set) var line = 0

    private var file: FileInput
    private var hash = SHA256()
    private var block: [UInt8] = []
    private var position = 0
    private var nextLine = 1
    private var record: [UInt8] = []
    private var ends: [Int] = []
    private var isAtEnd = false

    /// Opens the file and reads its header.
    public static func open(path: String) throws(TransformError) -> CSVReader {
        var reader = CSVReader(file: try FileInput(path: path))
        try reader.readHeader()
        return reader
    }

    private init(file: consuming FileInput) {
        path = file.path
        self.file = file
    }

    private mutating func readHeader() throws(TransformError) {
        try fill()
        if block.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        guard try readRecord() else {
            throw TransformError(.badTable, "\(path) is empty: the first line must name the columns")
        }
        for index in ends.indices { header.append(try text(index)) }
        let names = header
        if let twice = names.indices.first(where: { names[..<$0].contains(names[$0]) }) {
            throw fault("the header names the column '\(names[twice])' twice")
        }
    }

    /// Index of a column.
    public func column(_ name: String) -> Int? { header.firstIndex(of: name) }

    /// Reads the next record; false at the end of the file.
    public mutating func next() throws(TransformError) -> Bool {
        guard try readRecord() else { return false }
        guard ends.count == header.count else {
            throw fault("\(ends.count) fields, but the header names \(header.count) columns")
        }
        return true
    }

    /// SHA-256 of the bytes read; of the whole file after the last record. Ends the reading.
    public consuming func digest() -> SHA256Digest { hash.finish() }

    /// Field `index` as text; empty when the cell is empty.
    public func text(_ index: Int) throws(TransformError) -> String {
        guard let text = String(validating: record[range(index)], as: UTF8.self) else {
            throw fault("field \(index + 1) is not UTF-8")
        }
        return text
    }

    /// Whether the cell is empty, which means that the value is missing.
    public func isMissing(_ index: Int) -> Bool { range(index).isEmpty }

    /// Field `index` as a finite decimal number; nil when the cell is empty.
    public func number(_ index: Int) throws(TransformError) -> Double? {
        let range = range(index)
        guard !range.isEmpty else { return nil }
        // `Double.init` alone would also take "nan", "inf" and hexadecimal.
        let isDecimal = record[range].allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "e"), UInt8(ascii: "E"):
                true
            default: false
            }
        }
        guard isDecimal, let value = Double(String(decoding: record[range], as: UTF8.self)), value.isFinite else {
            throw fault(
                "\(name(index)) is '\(String(decoding: record[range].prefix(40), as: UTF8.self))', not a finite number; "
                    + "leave the cell empty where the value is missing")
        }
        return value
    }

    /// Borrows the bytes of field `index`.
    public func withBytes<R, E: Error>(_ index: Int, _ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        try body(record.span.bytes.extracting(range(index)))
    }

    /// An error at the current record.
    public func fault(_ message: String) -> TransformError {
        TransformError(.badTable, "\(path):\(max(line, 1)): \(message)")
    }

    private func name(_ index: Int) -> String { index < header.count ? header[index] : "field \(index + 1)" }

    private func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

    private mutating func fill() throws(TransformError) {
        try file.read(into: &block)
        position = 0
        isAtEnd = block.isEmpty
        hash.update(block)
    }

    /// The next byte, or nil at the end.
    private mutating func peek() throws(TransformError) -> UInt8? {
        if position == block.count {
            guard !isAtEnd else { return nil }
            try fill()
            guard !isAtEnd else { return nil }
        }
        return block[position]
    }

    private mutating func readRecord() throws(TransformError) -> Bool {
        repeat {
            record.removeAll(keepingCapacity: true)
            ends.removeAll(keepingCapacity: true)
            line = nextLine
            guard try peek() != nil else { return false }
            while try readField() {}
        } while record.isEmpty && ends.count == 1 && !wasQuoted
        return true
    }

    /// Whether the field read last stood in quotes.
    private var wasQuoted = false

    /// Reads one field and its separator; false after the last one of the record.
    private mutating func readField() throws(TransformError) -> Bool {
        wasQuoted = false
        if try peek() == UInt8(ascii: "\"") {
            position += 1
            wasQuoted = true
            try readQuoted()
        }
        while let byte = try peek() {
            switch byte {
            case UInt8(ascii: ","):
                position += 1
                ends.append(record.count)
                return true
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
                try endLine(byte)
                ends.append(record.count)
                return false
            case UInt8(ascii: "\""):
                throw fault("a quote within an unquoted field; put the whole field in quotes and double the quote")
            default:
                guard !wasQuoted else { throw fault("text follows a closing quote; a comma or the line's end must") }
                try append(byte)
            }
        }
        ends.append(record.count)
        return false
    }

    private mutating func readQuoted() throws(TransformError) {
        while let byte = try peek() {
            position += 1
            if byte == UInt8(ascii: "\n") { nextLine += 1 }
            if byte == UInt8(ascii: "\"") {
                guard try peek() == UInt8(ascii: "\"") else { return }
                position += 1
            }
            record.append(byte)
            try checkLength()
        }
        throw fault("a quote is opened and never closed")
    }

    private mutating func endLine(_ byte: UInt8) throws(TransformError) {
        position += 1
        if byte == UInt8(ascii: "\r") {
            guard try peek() == UInt8(ascii: "\n") else {
                throw fault("a carriage return without a line feed; save the file with LF or CRLF line ends")
            }
            position += 1
        }
        nextLine += 1
    }

    private mutating func append(_ byte: UInt8) throws(TransformError) {
        position += 1
        record.append(byte)
        try checkLength()
    }

    private func checkLength() throws(TransformError) {
        guard record.count <= Self.recordBytesMax else {
            throw fault("the record is longer than \(Self.recordBytesMax) bytes; a quote may be missing")
        }
    }
}
