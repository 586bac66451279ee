// PostgresCancellation: stopping a statement from another thread, and other helpers around libpq's C interface.

import CLibPQ
import Glibc

/// Asks the server to stop the statement under way on one connection.
///
/// Unchecked: PQcancel is documented as safe to call from any thread, and the handle is immutable until deinit.
@safe public final class PostgresCancellation: @unchecked Sendable {
    private let handle: OpaquePointer

    init(adopting handle: OpaquePointer) {
        unsafe self.handle = unsafe handle
    }

    deinit { unsafe PQfreeCancel(handle) }

    /// Opens a connection of its own for the request, so it may block for a moment. The statement, if it was still
    /// running, fails with SQLSTATE 57014.
    public func cancel() throws(PostgresError) {
        var buffer = [CChar](repeating: 0, count: 256)
        // The buffer outlives the call and its size is passed along.
        let isSent = unsafe buffer.withUnsafeMutableBufferPointer { unsafe PQcancel(handle, $0.baseAddress, 256) }
        guard isSent == 1 else {
            let text = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw PostgresError(.connection, "cannot cancel: \(String(decoding: text, as: UTF8.self).trimmed)")
        }
    }
}

/// Holds the notice handler at a stable address for libpq.
final class NoticeBox {
    var handler: (PostgresNotice) -> Void = { _ in }
}

/// libpq calls this on the thread that uses the connection, while a call of that connection is under way.
func receiveNotice(context: UnsafeMutableRawPointer?, result: OpaquePointer?) {
    guard let context = unsafe context, let result = unsafe result else { return }
    func field(_ code: Character) -> String {
        guard let ascii = code.asciiValue, let text = unsafe PQresultErrorField(result, Int32(ascii)) else { return "" }
        return unsafe String(cString: text)
    }
    // The connection retains the box as long as libpq may call.
    let box = unsafe Unmanaged<NoticeBox>.fromOpaque(context).takeUnretainedValue()
    box.handler(PostgresNotice(severity: field("V"), sqlState: field("C"), message: field("M")))
}

/// Passes strings as a null-terminated array of C strings, valid during `body`.
func withCStrings<R>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R
) -> R {
    var pointers: [UnsafePointer<CChar>?] = unsafe strings.map { unsafe UnsafePointer(strdup($0)) }
    unsafe pointers.append(nil)
    defer { unsafe pointers.forEach { unsafe free(UnsafeMutablePointer(mutating: $0)) } }
    return unsafe pointers.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("the array holds at least its nil") }
        return unsafe body(base)
    }
}

/// Passes parameters in libpq's five arrays, valid during `body`.
func withParameters<R>(
    _ parameters: [PostgresValue],
    _ body: (
        Int32, UnsafePointer<Oid>?, UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?
    ) -> R
) -> R {
    let encoded = parameters.map(\.encoded)
    // One arena for all values; offsets become pointers only inside the scope in which the arena stays put. A final
    // byte keeps the pointer of an empty last value inside it.
    var arena: [UInt8] = []
    var starts: [Int] = []
    for value in encoded {
        starts.append(arena.count)
        arena.append(contentsOf: value ?? [])
    }
    arena.append(0)
    let types: [Oid] = parameters.map(\.typeID)
    let lengths = encoded.map { Int32(clamping: $0?.count ?? 0) }
    let formats: [Int32] = parameters.map { $0.isBinary ? 1 : 0 }
    return unsafe arena.withUnsafeBytes { bytes in
        let base = unsafe bytes.bindMemory(to: CChar.self).baseAddress
        let values: [UnsafePointer<CChar>?] = unsafe zip(encoded, starts).map { value, start in
            value == nil ? nil : unsafe base.map { unsafe $0 + start }
        }
        return unsafe types.withUnsafeBufferPointer { types in
            unsafe values.withUnsafeBufferPointer { values in
                unsafe lengths.withUnsafeBufferPointer { lengths in
                    unsafe formats.withUnsafeBufferPointer { formats in
                        unsafe body(
                            Int32(encoded.count), types.baseAddress, values.baseAddress, lengths.baseAddress,
                            formats.baseAddress)
                    }
                }
            }
        }
    }
}
