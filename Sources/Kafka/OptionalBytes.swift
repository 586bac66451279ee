// OptionalBytes: borrowed bytes in the form C functions take, with nil and empty kept apart.

/// A pointer and a length, valid only inside `withOptionalBytes`; `start` is nil only for nil bytes.
@unsafe struct OptionalBytes {
    var start: UnsafeRawPointer?
    var count: Int
}

/// Lends bytes for a call. Empty bytes get a pointer that is not null, since librdkafka takes null for a tombstone.
@inline(__always)
func withOptionalBytes<R>(_ bytes: RawSpan?, _ body: (OptionalBytes) -> R) -> R {
    guard let bytes else { return unsafe body(OptionalBytes(start: nil, count: 0)) }
    return unsafe bytes.withUnsafeBytes { buffer in
        if let start = buffer.baseAddress, unsafe !buffer.isEmpty {
            return unsafe body(OptionalBytes(start: start, count: buffer.count))
        }
        var nothing: UInt8 = 0
        return unsafe withUnsafeBytes(of: &nothing) { unsafe body(OptionalBytes(start: $0.baseAddress, count: 0)) }
    }
}

/// A pointer on its way out of a mutex that guards the table it came from; the owner keeps it alive.
@unsafe struct SendablePointer: @unchecked Sendable {
    let pointer: OpaquePointer?
    init(_ pointer: OpaquePointer?) { unsafe self.pointer = unsafe pointer }
}
