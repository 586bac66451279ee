// PartitionLog: one partition's record batches on disk, and the state that decides what may be appended and seen.

/// A partition of a topic.
///
/// Not thread-safe: used by the one thread that owns the ``LogStore``.
public final class PartitionLog {
    /// The topic's name.
    public let topic: String
    /// The partition's number within the topic.
    public let index: Int
    /// First offset that can be read.
    public internal(set) var logStartOffset: Int64 = 0
    /// The offset the next record gets.
    public internal(set) var logEndOffset: Int64 = 0
    /// First offset not visible yet: the log's end, or under group commit the end of what is durable.
    public internal(set) var highWatermark: Int64 = 0
    /// Called when the high watermark or the last stable offset has risen: wake waiting fetches.
    public var onVisible: ((PartitionLog) -> Void)?

    let directory: String
    let context: LogContext
    var config: TopicConfig
    /// By base offset; the last is the active one. Never empty once opened.
    var segments: [Segment] = []
    var producerTable = ProducerTable()
    /// Ended transactions whose marker is not visible yet, in order of markers.
    var undecided: [CompletedTransaction] = []
    /// The durable marks, as last handed to the flusher or written.
    var checkpoint = PartitionCheckpoint()
    /// The base offset below which recovery trusts the files; follows ``checkpoint`` once that is on the disk.
    var recoveryPoint: Int64 = 0
    /// Files to sync besides the active segment's.
    var unsyncedFiles: [any LogFile] = []
    var directoryIsDirty = false
    /// A failed append may have left bytes behind the active segment's end.
    var activeNeedsTruncation = false
    var isCompacting = false
    var isDeleted = false
    /// Whether anything changed since the checkpoint of the last clean shutdown.
    var changedSinceOpen = false

    init(topic: String, index: Int, directory: String, config: TopicConfig, context: LogContext) {
        self.topic = topic
        self.index = index
        self.directory = directory
        self.config = config
        self.context = context
    }

    /// First offset that may belong to an undecided transaction, else the high watermark.
    public var lastStableOffset: Int64 {
        var offset = min(highWatermark, producerTable.firstOpenOffset ?? highWatermark)
        for transaction in undecided { offset = min(offset, transaction.firstOffset) }
        return max(logStartOffset, offset)
    }

    /// Bytes of record batches on disk.
    public var sizeBytes: Int64 { segments.reduce(0) { $0 + $1.size } }

    /// What the log remembers of a producer.
    public func producer(_ producerID: Int64) -> ProducerDescription? {
        producerTable.entries[producerID].map { Self.description(producerID, $0) }
    }

    /// All producers the log remembers.
    public var producers: [ProducerDescription] {
        producerTable.entries.map { Self.description($0.key, $0.value) }.sorted { $0.producerID < $1.producerID }
    }

    private static func description(_ producerID: Int64, _ entry: ProducerTable.Entry) -> ProducerDescription {
        ProducerDescription(
            producerID: producerID, epoch: entry.epoch, lastSequence: entry.batches.last?.lastSequence ?? -1,
            lastTimestamp: entry.lastTimestamp, coordinatorEpoch: entry.coordinatorEpoch,
            transactionFirstOffset: entry.transactionFirstOffset)
    }

    /// The segment that is appended to.
    func activeSegment() throws(LogError) -> Segment {
        guard let segment = segments.last, !isDeleted else {
            throw LogError(.unknownTopicOrPartition, "\(topic)-\(index) is deleted")
        }
        return segment
    }

    /// Index of the last segment that starts at or before the offset.
    func segmentIndex(for offset: Int64) -> Int {
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].baseOffset <= offset { low = middle + 1 } else { high = middle }
        }
        return max(0, low - 1)
    }

    /// Offset after the segment's last possible record.
    func endOffset(ofSegment index: Int) -> Int64 {
        index + 1 < segments.count ? segments[index + 1].baseOffset : logEndOffset
    }

    /// The file and index of a segment, opened and loaded if they are not.
    func opened(_ segment: Segment) throws(LogError) -> (file: any LogFile, index: SegmentIndex) {
        if let file = segment.file, let index = segment.index {
            if segment !== segments.last { context.cache.touch(segment) }
            return (file, index)
        }
        let file = try storing { () throws(FileError) in
            try context.fileSystem.open(segment.logPath, create: false)
        }
        let index = try loadIndex(of: segment, file)
        segment.file = file
        segment.index = index
        segment.maxTimestamp = index.maxTimestamp
        segment.aborted = index.aborted
        context.cache.insert(segment)
        return (file, index)
    }

    /// The index from its file, or rebuilt from the log if the file is missing or damaged.
    private func loadIndex(of segment: Segment, _ file: any LogFile) throws(LogError) -> SegmentIndex {
        let bytes = try storing { () throws(FileError) in
            try context.fileSystem.contents(of: segment.indexPath)
        }
        if let bytes, let index = SegmentIndex(bytes, base: segment.baseOffset, segmentSize: segment.size) {
            return index
        }
        let index = try rebuiltIndex(of: segment, file)
        // Without space the index is rebuilt again next time.
        _ = try? context.fileSystem.write(
            index.encode(base: segment.baseOffset, segmentSize: segment.size), to: segment.indexPath)
        return index
    }

    /// What to sync now; the marks in it hold once that is done.
    func takeFlushWork(includesActive: Bool) -> FlushWork {
        var work = FlushWork(files: unsyncedFiles, partitionDirectory: directory)
        if directoryIsDirty { work.directory = directory }
        unsyncedFiles.removeAll()
        directoryIsDirty = false
        if includesActive, let file = segments.last?.file {
            work.files.append(file)
            work.endOffset = logEndOffset
        }
        if let base = segments.last?.baseOffset, base > checkpoint.recoveryPoint {
            checkpoint.recoveryPoint = base
            checkpoint.cleanEndOffset = nil
            checkpoint.cleanActiveSize = nil
            work.checkpoint = checkpoint
        }
        return work
    }

    /// Called on the owner's thread when the work is done.
    func flushed(_ work: FlushWork, checkpointed: Bool) {
        if let checkpoint = work.checkpoint {
            if checkpointed {
                recoveryPoint = max(recoveryPoint, checkpoint.recoveryPoint)
            } else {
                // Tried again with the next sync that rolls.
                self.checkpoint.recoveryPoint = recoveryPoint
            }
        }
        if context.options.flushPolicy == .groupCommit, let end = work.endOffset, !isDeleted {
            raiseHighWatermark(to: end)
        }
    }

    /// Shows what lies below `offset`.
    func raiseHighWatermark(to offset: Int64) {
        guard offset > highWatermark else { return }
        highWatermark = offset
        undecided.removeAll { $0.markerOffset < offset }
        onVisible?(self)
    }

    /// Writes a checkpoint durably; false if the disk refuses or an earlier sync failed, on which the marks may rest.
    static func write(
        _ checkpoint: PartitionCheckpoint, in directory: String, _ fileSystem: any FileSystem, _ health: FlushHealth
    ) -> Bool {
        guard !health.hasFailed else { return false }
        do {
            try fileSystem.replace(
                directory + "/" + PartitionCheckpoint.fileName, in: directory, with: checkpoint.encode())
            return true
        } catch {
            return false
        }
    }
}
