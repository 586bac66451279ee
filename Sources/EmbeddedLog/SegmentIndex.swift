// SegmentIndex: a segment's sparse index by offset and time, and its aborted transactions.

/// An aborted transaction whose marker lies in the segment.
struct AbortedEntry: Sendable, Equatable {
    var producerID: Int64
    var firstOffset: Int64
    /// Offset of the abort marker.
    var lastOffset: Int64
    /// The last stable offset once this transaction was decided: no later entry matters to readers below it.
    var lastStableOffset: Int64
}

/// In memory for the active segment; for closed ones in the file `<base>.index`, which can always be rebuilt.
struct SegmentIndex: Sendable, Equatable {
    /// One batch in about every ``intervalBytes``.
    struct Entry: Sendable, Equatable {
        /// The batch's base offset, relative to the segment's.
        var relativeOffset: UInt32
        /// The batch's position in the file.
        var position: UInt32
        /// Largest timestamp of all batches before this one; the smallest number if there is none.
        var maxTimestampBefore: Int64
    }

    /// 16 bytes for every 16 KiB: 1 MiB of index per GiB of log.
    static let intervalBytes: Int64 = 16 << 10

    private(set) var entries: [Entry] = []
    private(set) var maxTimestamp = Int64.min
    var aborted: [AbortedEntry] = []
    /// When the whole segment was first compacted, in milliseconds; -1 if never.
    var compactedAt: Int64 = -1

    var byteCount: Int { entries.count * MemoryLayout<Entry>.stride }

    /// Notes a batch at the segment's end.
    mutating func add(_ header: BatchHeader, position: Int64, base: Int64) {
        if entries.last.map({ position - Int64($0.position) >= Self.intervalBytes }) ?? true {
            entries.append(
                Entry(
                    relativeOffset: UInt32(clamping: header.baseOffset - base), position: UInt32(clamping: position),
                    maxTimestampBefore: maxTimestamp))
        }
        maxTimestamp = max(maxTimestamp, header.maxTimestamp)
    }

    /// Position of an indexed batch at or before the one that holds the offset.
    func position(before offset: Int64, base: Int64) -> Int64 {
        entry { Int64($0.relativeOffset) <= offset - base }.map { Int64($0.position) } ?? 0
    }

    /// The last indexed batch that starts at or before a position.
    func entry(at position: Int64) -> Entry? { entry { Int64($0.position) <= position } }

    /// Position from which on a record of at least that time can lie.
    func position(forTimestamp timestamp: Int64) -> Int64 {
        entry { $0.maxTimestampBefore < timestamp }.map { Int64($0.position) } ?? 0
    }

    /// The last entry for which `holds`, which is true for a prefix of the entries.
    private func entry(_ holds: (Entry) -> Bool) -> Entry? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if holds(entries[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : entries[low - 1]
    }
}

extension SegmentIndex {
    private static let magic: UInt32 = 0x5053_4958  // "PSIX"
    private static let version: UInt16 = 1

    /// The file's bytes; see docs/embedded-log.md.
    func encode(base: Int64, segmentSize: Int64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(64 + entries.count * 16 + aborted.count * 32)
        bytes.appendInteger(Self.magic)
        bytes.appendInteger(Self.version)
        bytes.appendInteger(base)
        bytes.appendInteger(segmentSize)
        bytes.appendInteger(maxTimestamp)
        bytes.appendInteger(compactedAt)
        bytes.appendInteger(UInt32(entries.count))
        bytes.appendInteger(UInt32(aborted.count))
        for entry in entries {
            bytes.appendInteger(entry.relativeOffset)
            bytes.appendInteger(entry.position)
            bytes.appendInteger(entry.maxTimestampBefore)
        }
        for entry in aborted {
            for field in [entry.producerID, entry.firstOffset, entry.lastOffset, entry.lastStableOffset] {
                bytes.appendInteger(field)
            }
        }
        let checksum = unsafe Checksum.crc32c(bytes.span.bytes)
        bytes.appendInteger(checksum)
        return bytes
    }

    /// Nil if the bytes are damaged or belong to another segment file.
    init?(_ bytes: [UInt8], base: Int64, segmentSize: Int64) {
        guard bytes.count > 4 else { return nil }
        let body = bytes.count - 4
        let checksum = unsafe Checksum.crc32c(bytes.span.bytes.extracting(0..<body))
        guard unsafe bytes.span.bytes.integer(at: body, as: UInt32.self) == checksum else { return nil }
        var reader = ByteReader(bytes, to: body)
        guard reader.integer(as: UInt32.self) == Self.magic, reader.integer(as: UInt16.self) == Self.version,
            reader.integer(as: Int64.self) == base, reader.integer(as: Int64.self) == segmentSize,
            let maxTimestamp = reader.integer(as: Int64.self), let compactedAt = reader.integer(as: Int64.self),
            let entryCount = reader.integer(as: UInt32.self), let abortedCount = reader.integer(as: UInt32.self),
            reader.remaining == Int(entryCount) * 16 + Int(abortedCount) * 32
        else { return nil }
        self.maxTimestamp = maxTimestamp
        self.compactedAt = compactedAt
        entries.reserveCapacity(Int(entryCount))
        for _ in 0..<entryCount {
            guard let offset = reader.integer(as: UInt32.self), let position = reader.integer(as: UInt32.self),
                let timestamp = reader.integer(as: Int64.self)
            else { return nil }
            entries.append(Entry(relativeOffset: offset, position: position, maxTimestampBefore: timestamp))
        }
        for _ in 0..<abortedCount {
            guard let producer = reader.integer(as: Int64.self), let first = reader.integer(as: Int64.self),
                let last = reader.integer(as: Int64.self), let stable = reader.integer(as: Int64.self)
            else { return nil }
            aborted.append(
                AbortedEntry(producerID: producer, firstOffset: first, lastOffset: last, lastStableOffset: stable))
        }
    }
}
