// SegmentScanner: walks the batches of a segment file through a window of bounded size.

/// Gives batch headers one after another; stops at the end or at the first thing that is not a whole batch.
struct SegmentScanner {
    /// A batch and its place in the file.
    struct Batch {
        var header: BatchHeader
        var position: Int64
    }

    /// Where the next batch starts.
    private(set) var position: Int64
    private let file: any LogFile
    private let end: Int64
    private var window: [UInt8]
    private var windowStart: Int64 = 0
    private var windowCount = 0

    /// Windows for finding one batch and for reading all.
    static let seekBytes = 4 << 10
    static let bulkBytes = 256 << 10

    init(_ file: any LogFile, from position: Int64, to end: Int64, windowBytes: Int = Self.seekBytes) {
        self.file = file
        self.position = position
        self.end = end
        window = [UInt8](repeating: 0, count: max(windowBytes, BatchHeader.size))
    }

    mutating func next() throws(LogError) -> Batch? {
        guard let at = try fill(position, BatchHeader.size) else { return nil }
        let header = unsafe BatchHeader(window.span.bytes, at: at)
        guard header.isPlausible, Int64(header.byteCount) <= end - position else { return nil }
        defer { position += Int64(header.byteCount) }
        return Batch(header: header, position: position)
    }

    /// Whether the batch's bytes have the checksum its header says.
    mutating func isIntact(_ batch: Batch) throws(LogError) -> Bool {
        var crc: UInt32 = 0
        var at = batch.position + Int64(BatchHeader.checksummedFrom)
        let batchEnd = batch.position + Int64(batch.header.byteCount)
        while at < batchEnd {
            guard let offset = try fill(at, 1) else { return false }
            let count = Int(min(batchEnd - at, Int64(windowCount - offset)))
            crc = unsafe Checksum.crc32c(window.span.bytes.extracting(offset..<(offset + count)), extending: crc)
            at += Int64(count)
        }
        return crc == batch.header.checksum
    }

    /// All bytes of a batch.
    func bytes(of batch: Batch) throws(LogError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: batch.header.byteCount)
        let count: Int
        do {
            count = try file.read(into: &bytes, at: batch.position)
        } catch {
            throw LogError(error)
        }
        guard count == bytes.count else {
            throw LogError(.storage, "batch at offset \(batch.header.baseOffset) is shorter than its length says")
        }
        return bytes
    }

    /// Whether a marker aborts; nil if the batch is not a marker that can be read.
    func markerAborts(_ batch: Batch) throws(LogError) -> (aborts: Bool, coordinatorEpoch: Int32)? {
        let bytes = try bytes(of: batch)
        return unsafe TransactionMarker.parse(batch.header, bytes.span.bytes)
    }

    /// Makes `count` bytes at a position available; nil if the file ends before.
    private mutating func fill(_ at: Int64, _ count: Int) throws(LogError) -> Int? {
        if at >= windowStart, at + Int64(count) <= windowStart + Int64(windowCount) { return Int(at - windowStart) }
        guard at + Int64(count) <= end else { return nil }
        do {
            windowCount = try Int(min(Int64(file.read(into: &window, at: at)), end - at))
        } catch {
            throw LogError(error)
        }
        windowStart = at
        return windowCount >= count ? 0 : nil
    }
}

/// The content of a control batch that ends a transaction.
enum TransactionMarker {
    static func parse(_ header: BatchHeader, _ bytes: RawSpan) -> (aborts: Bool, coordinatorEpoch: Int32)? {
        guard header.isControl, !header.isCompressed else { return nil }
        var reader = RecordReader(header)
        guard let record = reader.next(bytes), let key = record.key, key.count >= 4,
            let value = record.value, value.count >= 6
        else { return nil }
        let type: Int16 = bytes.integer(at: key.lowerBound + 2)
        guard type == 0 || type == 1 else { return nil }
        return (type == 0, bytes.integer(at: value.lowerBound + 2))
    }
}
