// PostgresConnection: one libpq connection, used by one thread, where every wait has a deadline.

import CLibPQ
import Glibc

/// A connection to PostgreSQL. Calls block the calling thread, never longer than the options' time-outs; so call from
/// a thread of your own, not from the cooperative pool. Not Sendable on purpose: one thread at a time.
@safe public final class PostgresConnection {
    /// Owned; nil once closed. Freed exactly once, in `close` or at the end.
    private var handle: OpaquePointer?
    private let notices = NoticeBox()
    private let password: String?
    let operationTimeout: Duration
    /// Host, port, database and user, for messages.
    public let place: String

    /// Connects and applies the settings.
    public init(
        _ options: PostgresOptions, onNotice: @escaping (PostgresNotice) -> Void = { _ in }
    ) throws(PostgresError) {
        place = options.place
        password = options.password
        operationTimeout = .milliseconds(options.operationTimeoutMilliseconds)
        notices.handler = onNotice
        if let problem = options.problem { throw PostgresError(.usage, problem) }
        // Later keywords win, so what the URL (given as dbname) says stands above the defaults before it.
        let parameters = [
            ("fallback_application_name", options.applicationName), ("client_encoding", "UTF8"),
            ("keepalives", "1"), ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
            ("tcp_user_timeout", String(options.tcpUserTimeoutMilliseconds)), ("dbname", options.url),
        ]
        // libpq copies the strings during the call.
        let started = unsafe withCStrings(parameters.map(\.0)) { keywords in
            unsafe withCStrings(parameters.map(\.1)) { values in unsafe PQconnectStartParams(keywords, values, 1) }
        }
        guard let started = unsafe started else { throw PostgresError(.connection, "out of memory") }
        unsafe handle = unsafe started
        try unsafe finishConnecting(started, within: .milliseconds(options.connectTimeoutMilliseconds))
        for (name, value) in options.settings.sorted(by: { $0.key < $1.key }) {
            try query("SELECT set_config($1, $2, false)", [.text(name), .text(value)])
        }
    }

    deinit { close() }

    /// Ends the connection; an open transaction is rolled back by the server. May be called again.
    public func close() {
        guard let open = unsafe handle else { return }
        unsafe PQfinish(open)
        unsafe handle = nil
    }

    public var isOpen: Bool {
        guard let handle = unsafe handle else { return false }
        return unsafe PQstatus(handle) == CONNECTION_OK
    }

    /// The server process of this connection, as in pg_stat_activity.
    public var backendProcessID: Int {
        guard let handle = unsafe handle else { return 0 }
        return unsafe Int(PQbackendPID(handle))
    }

    /// Such as 150020 for 15.20; 0 when not connected.
    public var serverVersion: Int {
        guard let handle = unsafe handle else { return 0 }
        return unsafe Int(PQserverVersion(handle))
    }

    public var isInTransaction: Bool {
        guard let handle = unsafe handle else { return false }
        return unsafe PQtransactionStatus(handle) != PQTRANS_IDLE
    }

    /// A handle with which any thread may ask the server to stop the statement under way.
    public func makeCancellation() -> PostgresCancellation? {
        guard let handle = unsafe handle, let cancel = unsafe PQgetCancel(handle) else { return nil }
        return unsafe PostgresCancellation(adopting: cancel)
    }

    /// `text` as a quoted identifier.
    public static func quote(identifier text: String) -> String {
        "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    /// `text` as a string literal (standard_conforming_strings is on since PostgreSQL 9.1).
    public static func quote(literal text: String) -> String {
        let body = text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''")
        guard body.contains("\\") else { return "'\(body)'" }
        return " E'\(body.split(separator: "\\", omittingEmptySubsequences: false).joined(separator: "\\\\"))'"
    }

    // MARK: - Statements

    /// Runs one or several statements without parameters; gives the last result.
    @discardableResult
    public func execute(_ sql: String, timeout: Duration? = nil) throws(PostgresError) -> PostgresResult {
        let handle = unsafe try open()
        let deadline = ContinuousClock.now + (timeout ?? operationTimeout)
        try requireSent(unsafe PQsendQuery(handle, sql))
        return try lastResult(until: deadline)
    }

    /// Runs one statement with parameters ($1, …). Results come in binary unless `binary` is false.
    @discardableResult
    public func query(
        _ sql: String, _ parameters: [PostgresValue] = [], binary: Bool = true
    ) throws(PostgresError) -> PostgresResult {
        let handle = unsafe try open()
        let deadline = ContinuousClock.now + operationTimeout
        let sent = unsafe withParameters(parameters) { count, types, values, lengths, formats in
            unsafe PQsendQueryParams(handle, sql, count, types, values, lengths, formats, binary ? 1 : 0)
        }
        try requireSent(sent)
        return try lastResult(until: deadline)
    }

    /// Prepares a statement of this session under a name. Types are inferred by the server.
    public func prepare(_ name: String, _ sql: String) throws(PostgresError) {
        let handle = unsafe try open()
        let deadline = ContinuousClock.now + operationTimeout
        try requireSent(unsafe PQsendPrepare(handle, name, sql, 0, nil))
        _ = try lastResult(until: deadline)
    }

    /// Runs a prepared statement.
    @discardableResult
    public func executePrepared(
        _ name: String, _ parameters: [PostgresValue] = [], binary: Bool = true
    ) throws(PostgresError) -> PostgresResult {
        let handle = unsafe try open()
        let deadline = ContinuousClock.now + operationTimeout
        let sent = unsafe withParameters(parameters) { count, _, values, lengths, formats in
            unsafe PQsendQueryPrepared(handle, name, count, values, lengths, formats, binary ? 1 : 0)
        }
        try requireSent(sent)
        return try lastResult(until: deadline)
    }

    // MARK: - COPY

    /// Sends rows of `writer` (all, or those of some ranges) through `COPY … FROM STDIN (FORMAT binary)`. Gives the number
    /// of rows copied.
    @discardableResult
    public func copy(
        _ sql: String, from writer: BinaryCopyWriter, rows: [Range<Int>]? = nil
    ) throws(PostgresError) -> Int {
        let handle = unsafe try open()
        let deadline = ContinuousClock.now + operationTimeout
        try requireSent(unsafe PQsendQuery(handle, sql))
        try flush(until: deadline)
        guard let begun = try nextResult(until: deadline) else {
            throw PostgresError(.usage, "COPY gave no result")
        }
        guard begun.status == PGRES_COPY_IN else {
            let isError = begun.status == PGRES_FATAL_ERROR
            let error = isError ? failure(begun) : PostgresError(.usage, "not a COPY … FROM STDIN statement")
            while try nextResult(until: deadline) != nil {}
            throw error
        }
        try put(BinaryCopyWriter.header[...], until: deadline)
        for range in (rows ?? [0..<writer.rowCount]).map(writer.range(of:)) {
            for start in stride(from: range.lowerBound, to: range.upperBound, by: Self.copyChunkBytes) {
                let end = min(start + Self.copyChunkBytes, range.upperBound)
                try put(writer.bytes[start..<end], until: deadline)
            }
        }
        try put(BinaryCopyWriter.trailer[...], until: deadline)
        while true {
            let ended = unsafe PQputCopyEnd(handle, nil)
            if ended == 1 { break }
            if ended < 0 { throw lostOrFailed() }
            try wait(reading: true, writing: true, until: deadline)
        }
        return try lastResult(until: deadline).affectedRows
    }

    /// Large enough to keep the number of calls low, small enough not to copy a whole batch twice at once.
    private static let copyChunkBytes = 256 * 1_024

    private func put(_ bytes: ArraySlice<UInt8>, until deadline: ContinuousClock.Instant) throws(PostgresError) {
        let handle = unsafe try open()
        while true {
            // The pointer is used during the call only: libpq copies into its own buffer.
            let sent = unsafe bytes.withUnsafeBytes { buffer in
                unsafe PQputCopyData(handle, buffer.bindMemory(to: CChar.self).baseAddress, Int32(buffer.count))
            }
            if sent == 1 { return }
            if sent < 0 { throw lostOrFailed() }
            try wait(reading: true, writing: true, until: deadline)
        }
    }

    // MARK: - Waiting

    private func finishConnecting(_ handle: OpaquePointer, within timeout: Duration) throws(PostgresError) {
        // Verbose messages carry the SQLSTATE, which libpq gives in no other way while connecting.
        unsafe PQsetErrorVerbosity(handle, PQERRORS_VERBOSE)
        let deadline = ContinuousClock.now + timeout
        var isWriting = true
        if unsafe PQstatus(handle) == CONNECTION_BAD { throw connectFailure() }
        while true {
            do {
                try wait(reading: !isWriting, writing: isWriting, until: deadline)
            } catch {
                throw PostgresError(
                    .timeout, "no connection to \(place) within \(timeout): is the server running and reachable?")
            }
            switch unsafe PQconnectPoll(handle) {
            case PGRES_POLLING_OK:
                // The box lives as long as this connection, and PQfinish ends the callbacks before it goes.
                unsafe PQsetNoticeReceiver(handle, receiveNotice, Unmanaged.passUnretained(notices).toOpaque())
                unsafe PQsetErrorVerbosity(handle, PQERRORS_DEFAULT)
                unsafe PQsetnonblocking(handle, 1)
                return
            case PGRES_POLLING_READING: isWriting = false
            case PGRES_POLLING_WRITING: isWriting = true
            default: throw connectFailure()
            }
        }
    }

    /// Waits until the socket is ready. A deadline that has passed gives up the connection: what the server still
    /// sends for the old statement must never be taken for the answer to a new one.
    private func wait(
        reading: Bool, writing: Bool, until deadline: ContinuousClock.Instant
    ) throws(PostgresError) {
        let handle = unsafe try open()
        while true {
            let remaining = deadline - ContinuousClock.now
            let milliseconds = max(
                0, remaining.components.seconds * 1_000 + remaining.components.attoseconds / 1_000_000_000_000_000 + 1)
            let events = (reading ? POLLIN : 0) | (writing ? POLLOUT : 0)
            var entry = unsafe pollfd(fd: PQsocket(handle), events: Int16(events), revents: 0)
            // `entry` lives through the call.
            let ready = unsafe poll(&entry, 1, Int32(clamping: remaining > .zero ? milliseconds : 0))
            if ready > 0 { return }
            if ready < 0, errno == EINTR { continue }
            close()
            throw PostgresError(
                .timeout, "\(place) did not answer in time; the connection was given up and its transaction is lost")
        }
    }

    private func flush(until deadline: ContinuousClock.Instant) throws(PostgresError) {
        let handle = unsafe try open()
        while true {
            let pending = unsafe PQflush(handle)
            if pending == 0 { return }
            if pending < 0 { throw lostOrFailed() }
            try wait(reading: true, writing: true, until: deadline)
            // Reading as well: a server that blocks on its own output would never take our input.
            if unsafe PQconsumeInput(handle) == 0 { throw lostOrFailed() }
        }
    }

    private func nextResult(until deadline: ContinuousClock.Instant) throws(PostgresError) -> PostgresResult? {
        let handle = unsafe try open()
        while unsafe PQisBusy(handle) == 1 {
            try wait(reading: true, writing: false, until: deadline)
            // On failure PQgetResult below reports the broken connection.
            if unsafe PQconsumeInput(handle) == 0 { break }
        }
        guard let result = unsafe PQgetResult(handle) else { return nil }
        return unsafe PostgresResult(adopting: result)
    }

    /// Reads all results of the statement; the first error wins, else the last result.
    private func lastResult(until deadline: ContinuousClock.Instant) throws(PostgresError) -> PostgresResult {
        try flush(until: deadline)
        var last: PostgresResult?
        var error: PostgresError?
        while let result = try nextResult(until: deadline) {
            switch result.status {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: last = result
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                close()
                throw PostgresError(.usage, "COPY needs copy(_:from:); the connection was closed", lostConnection: true)
            default: error = error ?? failure(result)
            }
        }
        if let error { throw error }
        guard let last else { throw lostOrFailed() }
        return last
    }

    // MARK: - Errors

    func open() throws(PostgresError) -> OpaquePointer {
        guard let handle = unsafe handle else {
            throw PostgresError(.connection, "the connection to \(place) is closed")
        }
        return unsafe handle
    }

    private func requireSent(_ status: Int32) throws(PostgresError) {
        if status != 1 { throw lostOrFailed() }
    }

    private func failure(_ result: PostgresResult) -> PostgresError {
        // After FATAL the server closes, which the socket may show only later.
        let isFatal = ["FATAL", "PANIC"].contains(result.diagnostic("V") ?? "")
        var error = result.error(lostConnection: isFatal || !isOpen)
        error.message = redact(error.message)
        return error
    }

    private func lostOrFailed() -> PostgresError {
        PostgresError(isOpen ? .usage : .connection, redact(libraryMessage), lostConnection: !isOpen)
    }

    private var libraryMessage: String {
        guard let handle = unsafe handle, let text = unsafe PQerrorMessage(handle) else { return "no connection" }
        return unsafe String(cString: text).trimmed
    }

    /// libpq gives one text for a failed connection; in verbose form it reads `…: FATAL:  28P01: message\nLOCATION: …`.
    private func connectFailure() -> PostgresError {
        var lines: [Substring] = []
        var sqlState: String?
        for line in libraryMessage.split(separator: "\n") where !line.hasPrefix("LOCATION:") {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            let code = words.first { word in
                word.utf8.count == 6 && word.last == ":"
                    && word.dropLast().allSatisfy { $0.isASCII && ($0.isNumber || $0.isUppercase) }
                    && word.contains(where: \.isNumber)
            }
            if sqlState == nil, let code { sqlState = String(code.dropLast()) }
            // Continuation lines are indented by a tab.
            lines.append(line.drop { $0 == "\t" || $0 == " " })
        }
        var message = lines.joined(separator: " ")
        if let sqlState, let range = message.firstRange(of: "  \(sqlState): ") {
            message.replaceSubrange(range, with: " ")
        }
        return PostgresError(
            .connection, "cannot connect to \(place): \(redact(message))", sqlState: sqlState, lostConnection: true)
    }

    private func redact(_ text: String) -> String {
        guard let password, !password.isEmpty else { return text }
        return text.split(separator: password, omittingEmptySubsequences: false).joined(separator: "***")
    }
}
