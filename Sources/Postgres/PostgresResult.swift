// PostgresResult: the rows of one statement, read by type.

import CLibPQ

/// The result of one statement. Owns libpq's memory until it goes away.
@safe public final class PostgresResult {
    let handle: OpaquePointer

    /// Takes over the result and clears it at the end.
    init(adopting handle: OpaquePointer) {
        unsafe self.handle = unsafe handle
    }

    deinit { unsafe PQclear(handle) }

    var status: ExecStatusType { unsafe PQresultStatus(handle) }

    public var rowCount: Int { unsafe Int(PQntuples(handle)) }
    public var columnCount: Int { unsafe Int(PQnfields(handle)) }

    /// Rows that the statement inserted, updated, deleted or copied; 0 for others.
    public var affectedRows: Int {
        // The string lives as long as the result.
        guard let text = unsafe PQcmdTuples(handle) else { return 0 }
        return unsafe Int(String(cString: text)) ?? 0
    }

    /// The command tag, such as `INSERT 0 3` or `ROLLBACK`.
    public var commandTag: String {
        guard let text = unsafe PQcmdStatus(handle) else { return "" }
        return unsafe String(cString: text)
    }

    public func columnIndex(_ name: String) throws(PostgresError) -> Int {
        // PQfnumber folds unquoted names to lower case; the quotes keep it literal.
        let index = unsafe PQfnumber(handle, "\"\(name)\"")
        guard index >= 0 else { throw PostgresError(.usage, "the result has no column \"\(name)\"") }
        return Int(index)
    }

    public func isNull(row: Int, column: Int) -> Bool {
        guard isInside(row: row, column: column) else { return true }
        return unsafe PQgetisnull(handle, Int32(row), Int32(column)) == 1
    }

    /// The value, or nil for NULL.
    public func optional<T: PostgresDecodable>(
        _ type: T.Type = T.self, row: Int, column: Int
    ) throws(PostgresError) -> T? {
        guard isInside(row: row, column: column) else {
            throw PostgresError(
                .usage, "row \(row), column \(column) is outside the result (\(rowCount) rows, \(columnCount) columns)")
        }
        guard !isNull(row: row, column: column) else { return nil }
        let bytes = bytes(row: row, column: column)
        let isBinary = unsafe PQfformat(handle, Int32(column)) == 1
        let value = isBinary ? T(postgresBinary: bytes) : T(postgresText: String(decoding: bytes, as: UTF8.self))
        guard let value else {
            throw PostgresError(.usage, "column \(column) of the result cannot be read as \(T.self)")
        }
        return value
    }

    /// The value; NULL is an error.
    public func value<T: PostgresDecodable>(_ type: T.Type = T.self, row: Int, column: Int) throws(PostgresError) -> T {
        guard let value = try optional(type, row: row, column: column) else {
            throw PostgresError(.usage, "row \(row), column \(column) of the result is NULL, expected \(T.self)")
        }
        return value
    }

    /// A whole column; NULL is an error.
    public func column<T: PostgresDecodable>(_ type: T.Type = T.self, _ column: Int) throws(PostgresError) -> [T] {
        var values: [T] = []
        values.reserveCapacity(rowCount)
        for row in 0..<rowCount { values.append(try value(type, row: row, column: column)) }
        return values
    }

    private func isInside(row: Int, column: Int) -> Bool {
        row >= 0 && row < rowCount && column >= 0 && column < columnCount
    }

    private func bytes(row: Int, column: Int) -> [UInt8] {
        // libpq owns the bytes as long as the result; they are copied at once.
        guard let start = unsafe PQgetvalue(handle, Int32(row), Int32(column)) else { return [] }
        let count = unsafe Int(PQgetlength(handle, Int32(row), Int32(column)))
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    func diagnostic(_ field: Character) -> String? {
        guard let code = field.asciiValue, let text = unsafe PQresultErrorField(handle, Int32(code)) else { return nil }
        return unsafe String(cString: text)
    }

    /// The error that the result carries. Field letters are PostgreSQL's PG_DIAG_* codes.
    func error(lostConnection: Bool) -> PostgresError {
        let fallback = unsafe PQresultErrorMessage(handle).map { unsafe String(cString: $0) } ?? ""
        let sqlState = diagnostic("C")
        var error = PostgresError(
            sqlState == nil ? .connection : .server,
            diagnostic("M") ?? fallback.trimmed, sqlState: sqlState, severity: diagnostic("V") ?? diagnostic("S"),
            lostConnection: lostConnection)
        error.detail = diagnostic("D")
        error.hint = diagnostic("H")
        error.constraint = diagnostic("n")
        error.table = diagnostic("t")
        error.column = diagnostic("c")
        error.context = diagnostic("W")
        return error
    }
}

extension String {
    /// Without white space and line ends around it.
    var trimmed: String {
        var text = self[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        return String(text)
    }
}
