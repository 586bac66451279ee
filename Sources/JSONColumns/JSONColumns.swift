// JSONColumns: the documents of a batch as columns.

/// A range of bytes; `length` -1 stands for none.
public struct JSONSlice: Sendable, Equatable {
    public var start: Int
    public var length: Int

    public init(start: Int, length: Int) {
        self.start = start
        self.length = length
    }

    public var isNull: Bool { length < 0 }
}

/// Whether a field came, and with a value.
public enum JSONPresence: UInt8, Sendable {
    case absent = 0
    case null = 1
    case present = 2
}

/// The rows of the batch decoded last. Rows with a fault have no other content.
///
/// The arrays keep the size of the largest batch so far: read no further than `rowCount` rows.
public struct JSONColumns: Sendable {
    public let fieldCount: Int
    public let numericCount: Int
    public let textCount: Int
    public internal(set) var rowCount = 0
    /// Row r, numeric column c (the number, integer and boolean fields, in order) stands at `r * numericCount + c`;
    /// 0 unless present. A boolean is 0 or 1.
    public internal(set) var numbers: [Double] = []
    /// Row r, field f stands at `r * fieldCount + f`; see `JSONPresence`.
    public internal(set) var presence: [UInt8] = []
    /// Row r, text column c (the string and raw fields, in order) stands at `r * textCount + c`. Strings are ranges of
    /// `textBytes`, raw values of the input; null unless present.
    public internal(set) var texts: [JSONSlice] = []
    /// Unescaped UTF-8.
    public internal(set) var textBytes: [UInt8] = []
    var faults: [JSONFault.Record] = []

    init(schema: JSONSchema) {
        fieldCount = schema.fields.count
        numericCount = schema.fields.count { $0.type.isNumeric }
        textCount = fieldCount - numericCount
    }

    /// Why row `row` was refused; nil when it is good.
    public func fault(_ row: Int) -> JSONFault? {
        precondition(row < rowCount, "no such row")
        return JSONFault(faults[row])
    }

    public func presence(_ row: Int, field: Int) -> JSONPresence {
        JSONPresence(rawValue: presence[row * fieldCount + field]) ?? .absent
    }

    public func text(_ row: Int, column: Int) -> JSONSlice { texts[row * textCount + column] }

    /// Room for `rows` rows with `bytes` bytes of text.
    mutating func reserve(rows: Int, bytes: Int) {
        Self.grow(&numbers, to: rows * numericCount, with: 0)
        Self.grow(&presence, to: rows * fieldCount, with: 0)
        Self.grow(&texts, to: rows * textCount, with: JSONSlice(start: 0, length: -1))
        Self.grow(&textBytes, to: bytes, with: 0)
        Self.grow(&faults, to: rows, with: JSONFault.Record())
    }

    mutating func removeAll() { (numbers, presence, texts, textBytes, faults) = ([], [], [], [], []) }

    mutating func restore(
        _ numbers: [Double], _ presence: [UInt8], _ texts: [JSONSlice], _ textBytes: [UInt8],
        _ faults: [JSONFault.Record]
    ) {
        (self.numbers, self.presence, self.texts) = (numbers, presence, texts)
        (self.textBytes, self.faults) = (textBytes, faults)
    }

    private static func grow<T>(_ array: inout [T], to count: Int, with value: T) {
        // One element more keeps the base address of an empty column from being nil.
        let missing = count + 1 - array.count
        if missing > 0 { array.append(contentsOf: repeatElement(value, count: missing)) }
    }
}
