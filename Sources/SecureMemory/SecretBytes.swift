// SecretBytes: a key in memory of its own.

/// Key material: in memfd_secret memory where the kernel has it, else in locked pages; never printed, never encoded,
/// wiped when it goes.
public struct SecretBytes: ~Copyable {
    private let region: ProtectedRegion

    /// `byteCount` zero bytes.
    ///
    /// Keys are small, so they are always locked unless the caller says otherwise.
    public init(byteCount: Int, mode: LockMode = .required) throws(SecureMemoryError) {
        region = try ProtectedRegion(byteCount: byteCount, mode: mode, isSecret: true)
    }

    public var byteCount: Int { region.byteCount }
    public var kind: ProtectedRegion.Kind { region.kind }

    public borrowing func withBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        try region.withBytes(body)
    }

    public mutating func withMutableBytes<R: ~Copyable, E: Error>(_ body: (inout MutableRawSpan) throws(E) -> R)
        throws(E) -> R
    {
        try region.withMutableBytes(body)
    }

    /// Overwrites the key now.
    public mutating func wipe() { region.wipe() }
}
