// Segment: one log file with its index, opened and loaded when it is needed.

/// A run of batches from `baseOffset` on. The last segment of a partition is the active one; all others never change
/// but by compaction and removal.
final class Segment {
    let baseOffset: Int64
    let directory: String
    /// Bytes of whole batches.
    var size: Int64
    /// The open file; nil for a closed segment not in use.
    var file: (any LogFile)?
    /// The index; nil for a closed segment not in use.
    var index: SegmentIndex?
    /// Known for a closed segment once its index was loaded; kept, as look-ups by time go over all segments.
    var maxTimestamp: Int64?
    /// As ``maxTimestamp``; usually empty.
    var aborted: [AbortedEntry]?
    /// When the first batch was appended, for `segment.ms`.
    var firstAppendMilliseconds: Int64?
    var lastUse: UInt64 = 0

    init(baseOffset: Int64, directory: String, size: Int64 = 0) {
        self.baseOffset = baseOffset
        self.directory = directory
        self.size = size
    }

    var logPath: String { Self.path(directory, baseOffset, "log") }
    var indexPath: String { Self.path(directory, baseOffset, "index") }
    var snapshotPath: String { Self.path(directory, baseOffset, "snapshot") }

    static func path(_ directory: String, _ offset: Int64, _ ending: String) -> String {
        let digits = String(offset)
        return directory + "/" + String(repeating: "0", count: max(0, 20 - digits.count)) + digits + "." + ending
    }

    /// The offset in a file name such as `00000000000000000042.log`; nil for other names.
    static func offset(in name: String, ending: String) -> Int64? {
        guard name.hasSuffix("." + ending), name.utf8.count == 21 + ending.utf8.count else { return nil }
        return Int64(name.prefix(20))
    }

    /// Forgets what can be loaded again.
    func unload() {
        file = nil
        index = nil
    }
}

/// Bounds the open files and indexes of closed segments; the least recently used go first.
final class SegmentCache {
    private let segmentsMax: Int
    private let indexBytesMax: Int
    private var loaded: [ObjectIdentifier: Segment] = [:]
    private var indexBytes = 0
    private var clock: UInt64 = 0

    init(segmentsMax: Int, indexBytesMax: Int) {
        self.segmentsMax = max(1, segmentsMax)
        self.indexBytesMax = indexBytesMax
    }

    /// Marks a closed segment as used.
    func touch(_ segment: Segment) {
        clock += 1
        segment.lastUse = clock
    }

    /// Takes a closed segment that has been loaded, and lets others go if there are too many.
    func insert(_ segment: Segment) {
        touch(segment)
        if loaded.updateValue(segment, forKey: ObjectIdentifier(segment)) == nil {
            indexBytes += segment.index?.byteCount ?? 0
        }
        while loaded.count > 1, loaded.count > segmentsMax || indexBytes > indexBytesMax,
            let oldest = loaded.values.min(by: { $0.lastUse < $1.lastUse })
        {
            remove(oldest)
        }
    }

    /// Lets a segment go.
    func remove(_ segment: Segment) {
        if loaded.removeValue(forKey: ObjectIdentifier(segment)) != nil {
            indexBytes -= segment.index?.byteCount ?? 0
        }
        segment.unload()
    }
}
