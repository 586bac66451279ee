// CompactionJob: keeps the last value per key of closed segments; works on files alone, off the owner's thread.

/// Compacts a run of closed segments.
///
/// Offsets, timestamps and the bytes of the records that stay are untouched; a batch that loses records keeps its base and
/// last offset. Batches of committed transactions lose their transactional mark: they stand without their marker. Compressed batches stay whole: their keys cannot be read here. As a tombstone must not go while an older
/// value of its key may hide in one, tombstones behind a compressed batch stay too.
struct CompactionJob: Sendable {
    struct Input: Sendable {
        var baseOffset: Int64
        var endOffset: Int64
        var size: Int64
        var path: String
        /// Aborted transactions whose marker lies in this segment.
        var aborted: [AbortedEntry]
        var compactedAt: Int64
    }

    struct Outcome: Sendable {
        var baseOffset: Int64
        var size: Int64
        var index: SegmentIndex
        /// The file that replaces the segment's; nil if nothing was dropped.
        var cleanedPath: String?
    }

    struct Output: Sendable {
        var segments: [Outcome]
        var compactedTo: Int64
        /// Whether the keys of all dirty segments fitted in memory; else another pass follows.
        var isComplete: Bool
    }

    /// 128 bits of a keyed hash of a record's key: of a billion keys no two are expected to collide.
    private struct KeyHash: Hashable {
        var low: Int
        var high: Int
    }

    let fileSystem: any FileSystem
    let inputs: [Input]
    /// Aborted transactions of the whole partition: a marker may lie behind the segments that are compacted.
    let aborted: [AbortedEntry]
    let dirtyFrom: Int64
    let keysMax: Int
    let now: Int64
    let deleteRetentionMilliseconds: Int64

    func run() -> Result<Output, LogError> {
        do throws(LogError) { return .success(try compact()) } catch { return .failure(error) }
    }

    private func compact() throws(LogError) -> Output {
        var lastOffsets: [KeyHash: Int64] = [:]
        var mappedTo = dirtyFrom
        for input in inputs where input.endOffset > dirtyFrom {
            let isWhole = try map(input, &lastOffsets, &mappedTo)
            guard isWhole else { break }
            mappedTo = input.endOffset
        }
        var outcomes: [Outcome] = []
        var hidesValues = false
        for input in inputs where input.baseOffset < mappedTo {
            outcomes.append(
                try rewrite(input, lastOffsets, isWhollyMapped: input.endOffset <= mappedTo, &hidesValues))
        }
        return Output(
            segments: outcomes, compactedTo: mappedTo, isComplete: mappedTo == inputs.last?.endOffset ?? mappedTo)
    }

    /// Notes the last offset of each key; false when the map is full, with `mappedTo` after the last batch noted.
    private func map(
        _ input: Input, _ lastOffsets: inout [KeyHash: Int64], _ mappedTo: inout Int64
    ) throws(LogError) -> Bool {
        let file = try storing { () throws(FileError) in try fileSystem.open(input.path, create: false) }
        var scanner = SegmentScanner(file, from: 0, to: input.size, windowBytes: SegmentScanner.bulkBytes)
        while let batch = try scanner.next() {
            let header = batch.header
            guard header.lastOffset >= dirtyFrom, !isDropped(header), !header.isControl, !header.isCompressed
            else { continue }
            if lastOffsets.count + Int(header.recordCount) > keysMax, !lastOffsets.isEmpty {
                mappedTo = header.baseOffset
                return false
            }
            let bytes = try scanner.bytes(of: batch)
            var reader = RecordReader(header)
            while let record = unsafe reader.next(bytes.span.bytes) {
                guard let key = record.key else { continue }
                lastOffsets[Self.hash(bytes[key])] = header.baseOffset + Int64(record.offsetDelta)
            }
        }
        return true
    }

    /// Writes the segment without what is superseded.
    private func rewrite(
        _ input: Input, _ lastOffsets: [KeyHash: Int64], isWhollyMapped: Bool, _ hidesValues: inout Bool
    ) throws(LogError) -> Outcome {
        let file = try storing { () throws(FileError) in try fileSystem.open(input.path, create: false) }
        let cleanedPath = input.path + ".cleaned"
        let cleaned = try storing { () throws(FileError) in try fileSystem.write([], to: cleanedPath) }
        let isDue = input.compactedAt >= 0 && now.addingClamped(-input.compactedAt) > deleteRetentionMilliseconds
        var output = SegmentWriter(file: cleaned, base: input.baseOffset)
        output.index.aborted = input.aborted
        output.index.compactedAt = input.compactedAt >= 0 ? input.compactedAt : (isWhollyMapped ? now : -1)
        var scanner = SegmentScanner(file, from: 0, to: input.size, windowBytes: SegmentScanner.bulkBytes)
        while let batch = try scanner.next() {
            let header = batch.header
            if header.isControl {
                // Its transaction's records were decided in the pass that set `compactedAt`; nobody needs it any more.
                if isDue {
                    output.index.aborted.removeAll { $0.lastOffset == header.lastOffset }
                } else {
                    try output.append(try scanner.bytes(of: batch), header)
                }
                continue
            }
            if isDropped(header) { continue }
            if header.isCompressed {
                hidesValues = true
                try append(try scanner.bytes(of: batch), header, to: &output)
                continue
            }
            let bytes = try scanner.bytes(of: batch)
            let dropsTombstones = isDue && !hidesValues
            if let (kept, keptHeader) = Self.filter(
                bytes, header,
                { view in
                    guard let key = view.key else { return false }
                    let offset = header.baseOffset + Int64(view.offsetDelta)
                    if let last = lastOffsets[Self.hash(bytes[key])], last > offset { return false }
                    return view.value != nil || !dropsTombstones
                })
            {
                try append(kept, keptHeader, to: &output)
            }
        }
        try output.finish()
        guard output.size < input.size || output.isChanged else {
            try storing { () throws(FileError) in try fileSystem.remove(cleanedPath) }
            return Outcome(baseOffset: input.baseOffset, size: input.size, index: output.index, cleanedPath: nil)
        }
        return Outcome(
            baseOffset: input.baseOffset, size: output.size, index: output.index, cleanedPath: cleanedPath)
    }

    private func append(_ bytes: [UInt8], _ header: BatchHeader, to output: inout SegmentWriter) throws(LogError) {
        guard header.isTransactional else { return try output.append(bytes, header) }
        var decided = bytes
        decided.setInteger(header.attributes & ~BatchHeader.transactionalBit, at: 21)
        RecordBatchBuilder.seal(&decided)
        output.isChanged = true
        try unsafe output.append(decided, BatchHeader(decided.span.bytes))
    }

    /// Whether the batch belongs to an aborted transaction.
    private func isDropped(_ header: BatchHeader) -> Bool {
        guard header.isTransactional, !header.isControl else { return false }
        return aborted.contains {
            $0.producerID == header.producerID && $0.firstOffset <= header.baseOffset
                && $0.lastOffset > header.baseOffset
        }
    }

    private static func hash(_ key: ArraySlice<UInt8>) -> KeyHash {
        KeyHash(low: hash(key, 0), high: hash(key, 1))
    }

    private static func hash(_ key: ArraySlice<UInt8>, _ seed: UInt8) -> Int {
        // The process's own random key is in the hasher: nobody outside can make two keys collide.
        var hasher = Hasher()
        hasher.combine(seed)
        unsafe key.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize()
    }

    /// The batch with only the records that `keeps`; nil if none stays. A batch that loses nothing comes back as it is.
    private static func filter(
        _ bytes: [UInt8], _ header: BatchHeader, _ keeps: (RecordView) -> Bool
    ) -> ([UInt8], BatchHeader)? {
        var result = Array(bytes[..<BatchHeader.size])
        var kept: Int32 = 0
        var maxTimestamp = Int64.min
        var reader = RecordReader(header)
        while let view = unsafe reader.next(bytes.span.bytes) {
            guard keeps(view) else { continue }
            kept += 1
            result += bytes[view.whole]
            maxTimestamp = max(maxTimestamp, header.baseTimestamp &+ view.timestampDelta)
        }
        // A batch with a record that cannot be read stays as it came.
        if reader.isMalformed || kept == header.recordCount { return (bytes, header) }
        guard kept > 0 else { return nil }
        if !header.usesAppendTime { result.setInteger(maxTimestamp, at: 35) }
        result.setInteger(kept, at: 57)
        RecordBatchBuilder.seal(&result)
        return unsafe (result, BatchHeader(result.span.bytes))
    }
}

/// Writes batches one after another in large pieces.
private struct SegmentWriter {
    let file: any LogFile
    let base: Int64
    var index = SegmentIndex()
    /// Whether a batch was changed in place.
    var isChanged = false
    private(set) var size: Int64 = 0
    private var pending: [UInt8] = []
    private var written: Int64 = 0

    private static let pieceBytes = 1 << 20

    init(file: any LogFile, base: Int64) {
        self.file = file
        self.base = base
    }

    mutating func append(_ bytes: [UInt8], _ header: BatchHeader) throws(LogError) {
        index.add(header, position: size, base: base)
        pending += bytes
        size += Int64(bytes.count)
        if pending.count >= Self.pieceBytes { try writePending() }
    }

    mutating func finish() throws(LogError) {
        try writePending()
        try storing { () throws(FileError) in try file.sync() }
    }

    private mutating func writePending() throws(LogError) {
        do {
            try unsafe file.write(pending.span.bytes, at: written)
        } catch {
            throw LogError(error)
        }
        written += Int64(pending.count)
        pending.removeAll(keepingCapacity: true)
    }
}
