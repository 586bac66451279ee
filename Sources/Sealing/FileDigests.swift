// FileDigests: the digests of a model's files, taken on a second thread while the first one decrypts.

import Cryptography
import Dispatch
import ProcessControl
import SecureMemory
import Synchronization

/// Compares the files' digests while their bytes go by.
struct FileDigests {
    private let files: [ContainerHeader.File]
    private var index = 0
    private var rest: Int
    private var hash = StreamingSHA256()

    init(_ files: [ContainerHeader.File]) {
        self.files = files
        rest = Int(files.first?.size ?? 0)
    }

    mutating func add(_ bytes: RawSpan) throws(SealingError) {
        var offset = 0
        while offset < bytes.byteCount {
            if rest == 0 { try next() }
            let count = min(rest, bytes.byteCount - offset)
            hash.update(bytes.extracting(offset..<offset + count))
            offset += count
            rest -= count
        }
    }

    mutating func finish() throws(SealingError) { while index < files.count { try next() } }

    private mutating func next() throws(SealingError) {
        guard rest == 0, index < files.count else { throw SealingError(.corrupt, "the payload and the files disagree") }
        guard hash.finish() == files[index].sha256 else {
            throw SealingError(.corrupt, "the file '\(files[index].path)' does not have the digest of the header")
        }
        index += 1
        rest = index < files.count ? Int(files[index].size) : 0
    }
}

/// The digests of an arena that is being filled from its start.
///
/// SHA-256 takes more than half of the time that opening a model takes, and each file is one chain: a second thread hashes
/// what the first one has decrypted. Call `advance` often, then `finish` or `cancel`; afterwards the arena is not read.
final class ArenaDigests {
    /// Below this a thread costs more than it saves.
    private static let threadedBytesMin = 4 << 20
    private let arena: ProtectedRegion
    private var done = 0
    /// Nil when a thread does the work.
    private var inline: FileDigests?
    private let follower: Follower

    init(_ files: [ContainerHeader.File], arena: ProtectedRegion) {
        self.arena = arena
        follower = Follower(total: arena.byteCount)
        guard arena.byteCount < Self.threadedBytesMin || !follower.start(files, arena) else { return }
        inline = FileDigests(files)
    }

    /// The bytes before `position` are decrypted and will not change.
    func advance(to position: Int) throws(SealingError) {
        guard inline != nil else { return try follower.advance(to: position) }
        let range = done..<position
        done = position
        try arena.withBytes { bytes throws(SealingError) in try inline?.add(bytes.extracting(range)) }
    }

    /// Throws unless every digest is the header's.
    func finish() throws(SealingError) {
        guard inline != nil else { return try follower.wait() }
        try inline?.finish()
    }

    /// Ends the work early.
    func cancel() { if inline == nil { follower.cancel() } }
}

/// The second thread's part.
private final class Follower: Sendable {
    private struct State {
        /// Bytes that may be hashed.
        var ready = 0
        var isCancelled = false
        var problem: SealingError?
    }

    private let total: Int
    private let state = Mutex(State())
    private let moved = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)

    init(total: Int) { self.total = total }

    func start(_ files: [ContainerHeader.File], _ arena: ProtectedRegion) -> Bool {
        Threads.start(named: "model-digest") {
            do throws(SealingError) {
                try self.run(FileDigests(files), arena)
            } catch {
                self.state.withLock { $0.problem = error }
            }
            self.ended.signal()
        }
    }

    private func run(_ initial: consuming FileDigests, _ arena: ProtectedRegion) throws(SealingError) {
        var digests = initial
        var done = 0
        while done < total {
            moved.wait()
            let (ready, isCancelled) = state.withLock { ($0.ready, $0.isCancelled) }
            guard !isCancelled else { return }
            try arena.withBytes { bytes throws(SealingError) in try digests.add(bytes.extracting(done..<ready)) }
            done = ready
        }
        try digests.finish()
    }

    func advance(to position: Int) throws(SealingError) {
        let problem = state.withLock { state in
            state.ready = position
            return state.problem
        }
        moved.signal()
        if let problem { throw problem }
    }

    func wait() throws(SealingError) {
        awaitEnd()
        if let problem = state.withLock({ $0.problem }) { throw problem }
    }

    func cancel() {
        state.withLock { $0.isCancelled = true }
        moved.signal()
        awaitEnd()
    }

    /// May be called again.
    private func awaitEnd() {
        ended.wait()
        ended.signal()
    }
}
