// ProtectedRegion: pages between two guard pages, left out of core dumps and children, locked, wiped at the end.

import CSecureMemory
import Glibc

/// A fixed block of protected memory with one owner.
///
/// | property | how |
/// |---|---|
/// | no overrun | a page without access before and behind |
/// | not in a core dump | MADV_DONTDUMP (memfd_secret memory never is) |
/// | not in a child | MADV_WIPEONFORK, MADV_DONTFORK for memfd_secret |
/// | not on a swap device | mlock2, by `LockMode`; memfd_secret memory cannot be swapped |
/// | gone at the end | explicit_bzero before munmap |
///
/// Sendable by agreement: it is written by one thread at a time, before it is shared for reading.
@safe public final class ProtectedRegion: @unchecked Sendable {
    public enum Kind: String, Sendable {
        /// Pages that are taken out of the kernel's own map: not even /proc/<pid>/mem or process_vm_readv reads them.
        case secret
        /// Ordinary anonymous pages, locked.
        case locked
        /// Ordinary anonymous pages that may be swapped.
        case unlocked
    }

    public let byteCount: Int
    public let kind: Kind
    private let base: UnsafeMutableRawPointer
    private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int

    private static let page = sysconf(Int32(_SC_PAGESIZE))
    /// From here on huge pages save most of the page faults.
    private static let hugeBytesMin = 4 << 20
    private static let hugePage = 2 << 20

    /// - Parameters:
    ///   - byteCount: usable bytes, zeroed.
    ///   - mode: what happens when the pages cannot be locked.
    ///   - isSecret: ask for memfd_secret first. For keys; the kernel cannot copy from such pages by reference, and they
    ///     count against RLIMIT_MEMLOCK.
    public init(byteCount: Int, mode: LockMode, isSecret: Bool = false) throws(SecureMemoryError) {
        guard byteCount >= 0, byteCount < 1 << 46 else {
            throw SecureMemoryError(.noMemory, "protected memory of \(byteCount) bytes is out of bounds")
        }
        let size = max(1, (byteCount + Self.page - 1) / Self.page) * Self.page
        if isSecret, let region = unsafe Self.mapSecret(size) {
            unsafe (mapping, base, mappedBytes) = unsafe region
            kind = .secret
        } else {
            let region = try unsafe Self.mapAnonymous(size)
            unsafe (mapping, base, mappedBytes) = unsafe region
            do throws(SecureMemoryError) {
                kind = try unsafe Self.lock(region.base, size, mode) ? .locked : .unlocked
            } catch {
                unsafe munmap(region.mapping, region.bytes)
                throw error
            }
        }
        self.byteCount = byteCount
    }

    deinit {
        // Writable again first: `protect()` may have made it read-only.
        wipe()
        unsafe munmap(mapping, mappedBytes)
    }

    /// Lends the bytes. The span lives as long as this region, which the caller holds.
    public func withBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        try unsafe body(RawSpan(_unsafeStart: UnsafeRawPointer(base), byteCount: byteCount))
    }

    /// Lends the bytes to write; nobody else may use them meanwhile, nor after `protect()`.
    public func withMutableBytes<R: ~Copyable, E: Error>(_ body: (inout MutableRawSpan) throws(E) -> R) throws(E) -> R {
        var span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: byteCount)
        return try body(&span)
    }

    /// Lends a part of the bytes to write; nobody else may use it meanwhile.
    public func withMutableBytes<R: ~Copyable, E: Error>(
        at offset: Int, count: Int, _ body: (inout MutableRawSpan) throws(E) -> R
    ) throws(E) -> R {
        precondition(offset >= 0 && count >= 0 && count <= byteCount - offset, "a part beyond the block")
        var span = unsafe MutableRawSpan(_unsafeStart: base + offset, byteCount: count)
        return try body(&span)
    }

    /// Copies bytes into the block; nobody else may use it meanwhile.
    public func copy(_ bytes: RawSpan, at offset: Int) {
        precondition(offset >= 0 && bytes.byteCount <= byteCount - offset, "a copy beyond the block")
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe (base + offset).copyMemory(from: start, byteCount: source.count)
        }
    }

    /// The start of the block, for buffers that keep this region alive. Page-aligned.
    @unsafe public var start: UnsafeMutableRawPointer { unsafe base }

    /// Makes the pages read-only until `wipe()`.
    public func protect() { unsafe mprotect(base, (byteCount + Self.page - 1) / Self.page * Self.page, PROT_READ) }

    /// Overwrites the bytes now. The region stays usable.
    public func wipe() {
        unsafe mprotect(base, (byteCount + Self.page - 1) / Self.page * Self.page, PROT_READ | PROT_WRITE)
        unsafe penstock_wipe(base, UInt(byteCount))
    }

    private typealias Mapping = (mapping: UnsafeMutableRawPointer, base: UnsafeMutableRawPointer, bytes: Int)

    /// An inaccessible range with room for the pages and a guard on both sides.
    private static func reserve(_ size: Int, alignment: Int) -> Mapping? {
        let bytes = size + 2 * page + (alignment > page ? alignment : 0)
        guard let mapping = unsafe mmap(nil, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            unsafe mapping != MAP_FAILED
        else { return nil }
        let first = UInt(bitPattern: mapping) + UInt(page)
        let aligned = (first + UInt(alignment) - 1) / UInt(alignment) * UInt(alignment)
        return unsafe (mapping, mapping + Int(aligned - UInt(bitPattern: mapping)), bytes)
    }

    private static func mapSecret(_ size: Int) -> Mapping? {
        let descriptor = penstock_memfd_secret()
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard ftruncate(descriptor, size) == 0, let region = unsafe reserve(size, alignment: page) else { return nil }
        let base = unsafe mmap(region.base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0)
        guard unsafe base == region.base, unsafe madvise(base, size, MADV_DONTFORK) == 0 else {
            unsafe munmap(region.mapping, region.bytes)
            return nil
        }
        // Pages come with the first touch; when the limit is used up, that touch would be a bus error.
        guard unsafe penstock_lock(region.base, UInt(size), 0) == 0 else {
            unsafe munmap(region.mapping, region.bytes)
            return nil
        }
        return unsafe region
    }

    private static func mapAnonymous(_ size: Int) throws(SecureMemoryError) -> Mapping {
        let isHuge = size >= hugeBytesMin
        guard let region = unsafe reserve(size, alignment: isHuge ? hugePage : page) else {
            throw SecureMemoryError(.noMemory, "no address range for \(size) bytes of protected memory")
        }
        let base = unsafe mmap(
            region.base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
        guard unsafe base == region.base, unsafe madvise(base, size, MADV_DONTDUMP) == 0,
            unsafe madvise(base, size, MADV_WIPEONFORK) == 0
        else {
            unsafe munmap(region.mapping, region.bytes)
            throw SecureMemoryError(.noMemory, "the system gives no \(size) bytes of protected memory")
        }
        if isHuge { unsafe madvise(base, size, MADV_HUGEPAGE) }
        return unsafe region
    }

    /// Whether the pages are locked.
    private static func lock(
        _ base: UnsafeMutableRawPointer, _ size: Int, _ mode: LockMode
    ) throws(SecureMemoryError) -> Bool {
        guard mode != .off else { return false }
        if unsafe penstock_lock(base, UInt(size), 1) == 0 { return true }
        guard mode == .required else { return false }
        throw SecureMemoryError(
            .cannotLock,
            "\(size) bytes cannot be locked in memory (\(unsafe String(cString: strerror(errno)))): raise the limit "
                + "(`ulimit -l`, LimitMEMLOCK= of systemd, --ulimit memlock of a container; now "
                + "\(ProcessHardening.lockLimit.map { "\($0) bytes" } ?? "without limit")) or choose another lock mode")
    }
}
