// PartitionLog+Read: finds and reads batches by offset and by time.

extension PartitionLog {
    /// Finds whole batches from the one that holds `offset` on, without reading them.
    ///
    /// - Parameters:
    ///   - maxBytes: the slice is not longer, but for `atLeastOneBatch`.
    ///   - atLeastOneBatch: gives the first batch even if it is longer than `maxBytes`.
    /// - Returns: a slice; empty if nothing is visible at `offset`. Use it before the next call of any mutating method.
    /// - Throws: `offsetOutOfRange` below the log's start or above its end.
    public func locate(
        from offset: Int64, maxBytes: Int, isolation: Isolation = .readUncommitted, atLeastOneBatch: Bool = true
    ) throws(LogError) -> LogSlice {
        guard offset >= logStartOffset, offset <= logEndOffset else {
            throw LogError(
                .offsetOutOfRange,
                "offset \(offset) of \(topic)-\(index); it holds \(logStartOffset) up to before \(logEndOffset)")
        }
        let limit = isolation == .readCommitted ? lastStableOffset : highWatermark
        guard offset < limit, maxBytes > 0 || atLeastOneBatch, let found = try batch(holding: offset, below: limit)
        else {
            return slice(nil, 0, 0, [])
        }
        let segment = segments[found.segment]
        let (file, index) = try opened(segment)
        let segmentEnd = endOffset(ofSegment: found.segment)
        let visibleEnd = limit >= segmentEnd ? segment.size : try position(of: limit, in: found.segment)
        let first = found.batch.header.byteCount
        let start = found.batch.position
        var end = visibleEnd
        var upperOffset = min(limit, segmentEnd)
        if visibleEnd - start > Int64(maxBytes) {
            guard first <= maxBytes || atLeastOneBatch else { return slice(nil, 0, 0, []) }
            end = start + Int64(first)
            upperOffset = found.batch.header.nextOffset
            if let entry = index.entry(at: start.addingClamped(Int64(maxBytes))), Int64(entry.position) > end {
                end = Int64(entry.position)
                upperOffset = segment.baseOffset + Int64(entry.relativeOffset)
            }
        }
        let aborted =
            isolation == .readCommitted ? try abortedTransactions(offset, upperOffset, from: found.segment) : []
        return slice(file, start, Int(end - start), aborted)
    }

    /// Copies a slice from the file into `buffer`, which holds at least `slice.byteCount` bytes.
    ///
    /// - Returns: the count of bytes written: `slice.byteCount`.
    public func read(_ slice: LogSlice, into buffer: UnsafeMutableRawBufferPointer) throws(LogError) -> Int {
        guard let file = slice.file, slice.byteCount > 0 else { return 0 }
        guard buffer.count >= slice.byteCount else {
            throw LogError(.invalidRequest, "buffer of \(buffer.count) bytes for a slice of \(slice.byteCount)")
        }
        let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<slice.byteCount])
        let count = try storing { () throws(FileError) in
            try unsafe file.read(into: target, at: slice.filePosition)
        }
        guard count == slice.byteCount else {
            throw LogError(.storage, "\(topic)-\(index): the segment file is shorter than it was")
        }
        return count
    }

    /// The bytes of a slice.
    public func bytes(of slice: LogSlice) throws(LogError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: slice.byteCount)
        let result: Result<Int, LogError> = unsafe bytes.withUnsafeMutableBytes { buffer in
            do throws(LogError) { return .success(try unsafe read(slice, into: buffer)) } catch {
                return .failure(error)
            }
        }
        _ = try result.get()
        return bytes
    }

    /// The first visible record whose timestamp is `timestamp` milliseconds or later; nil if there is none.
    ///
    /// In a compressed batch the batch's first record stands for all of it.
    public func offset(forTimestamp timestamp: Int64) throws(LogError) -> TimestampedOffset? {
        for number in segments.indices where endOffset(ofSegment: number) > logStartOffset {
            let segment = segments[number]
            guard segment.size > 0, try maxTimestamp(of: segment) >= timestamp else { continue }
            let (file, index) = try opened(segment)
            var scanner = SegmentScanner(
                file, from: index.position(forTimestamp: timestamp), to: segment.size)
            while let batch = try scanner.next(), batch.header.baseOffset < highWatermark {
                guard batch.header.maxTimestamp >= timestamp, batch.header.lastOffset >= logStartOffset else {
                    continue
                }
                if let found = try record(in: batch, scanner, where: { $0 >= timestamp }) { return found }
            }
        }
        return nil
    }

    /// The record with the largest timestamp (the first of them); nil for an empty log. In a compressed batch: its last.
    public func offsetOfMaxTimestamp() throws(LogError) -> TimestampedOffset? {
        var largest = Int64.min
        var place: Int?
        for number in segments.indices where segments[number].size > 0 && endOffset(ofSegment: number) > logStartOffset
        {
            let timestamp = try maxTimestamp(of: segments[number])
            if timestamp > largest { (largest, place) = (timestamp, number) }
        }
        guard let place else { return nil }
        let (file, index) = try opened(segments[place])
        var scanner = SegmentScanner(file, from: index.position(forTimestamp: largest), to: segments[place].size)
        while let batch = try scanner.next(), batch.header.baseOffset < highWatermark {
            guard batch.header.maxTimestamp == largest else { continue }
            if batch.header.isCompressed, !batch.header.usesAppendTime {
                return TimestampedOffset(offset: batch.header.lastOffset, timestamp: largest)
            }
            if let found = try record(in: batch, scanner, where: { $0 == largest }) { return found }
        }
        return nil
    }

    /// The first record of a batch, at or above the log's start, whose timestamp fits.
    private func record(
        in batch: SegmentScanner.Batch, _ scanner: SegmentScanner, where fits: (Int64) -> Bool
    ) throws(LogError) -> TimestampedOffset? {
        let header = batch.header
        if header.isCompressed || header.usesAppendTime {
            let offset = max(header.baseOffset, logStartOffset)
            return TimestampedOffset(
                offset: offset, timestamp: header.usesAppendTime ? header.maxTimestamp : header.baseTimestamp)
        }
        let bytes = try scanner.bytes(of: batch)
        var reader = RecordReader(header)
        while let view = unsafe reader.next(bytes.span.bytes) {
            let offset = header.baseOffset + Int64(view.offsetDelta)
            let timestamp = header.baseTimestamp &+ view.timestampDelta
            if offset >= logStartOffset, offset < highWatermark, fits(timestamp) {
                return TimestampedOffset(offset: offset, timestamp: timestamp)
            }
        }
        return nil
    }

    private func maxTimestamp(of segment: Segment) throws(LogError) -> Int64 {
        if segment === segments.last { return segment.index?.maxTimestamp ?? .min }
        if let known = segment.maxTimestamp { return known }
        return try opened(segment).index.maxTimestamp
    }

    private func slice(
        _ file: (any LogFile)?, _ position: Int64, _ byteCount: Int, _ aborted: [AbortedTransaction]
    ) -> LogSlice {
        LogSlice(
            byteCount: byteCount, highWatermark: highWatermark, lastStableOffset: lastStableOffset,
            logStartOffset: logStartOffset, abortedTransactions: aborted, file: file, filePosition: position)
    }

    /// The first batch with a record at or after the offset; compaction may have left none in a segment.
    private func batch(
        holding offset: Int64, below limit: Int64
    ) throws(LogError) -> (segment: Int, batch: SegmentScanner.Batch)? {
        for number in segmentIndex(for: offset)..<segments.count where segments[number].size > 0 {
            let segment = segments[number]
            let (file, index) = try opened(segment)
            var scanner = SegmentScanner(
                file, from: index.position(before: offset, base: segment.baseOffset), to: segment.size)
            while let batch = try scanner.next() {
                if batch.header.baseOffset >= limit { return nil }
                if batch.header.lastOffset >= offset { return (number, batch) }
            }
        }
        return nil
    }

    /// Position of the first batch at or after an offset that begins a batch or lies in a gap.
    private func position(of offset: Int64, in number: Int) throws(LogError) -> Int64 {
        let segment = segments[number]
        let (file, index) = try opened(segment)
        var scanner = SegmentScanner(
            file, from: index.position(before: offset, base: segment.baseOffset), to: segment.size)
        while let batch = try scanner.next() {
            if batch.header.baseOffset >= offset { return batch.position }
        }
        return segment.size
    }

    /// Aborted transactions that overlap a range of offsets, from the segment that holds its start on.
    private func abortedTransactions(
        _ from: Int64, _ upper: Int64, from number: Int
    ) throws(LogError) -> [AbortedTransaction] {
        var result: [AbortedTransaction] = []
        for segment in segments[number...] {
            let entries: [AbortedEntry]
            if segment === segments.last {
                entries = segment.index?.aborted ?? []
            } else if let known = segment.aborted {
                entries = known
            } else {
                entries = try opened(segment).index.aborted
            }
            for entry in entries where entry.lastOffset >= from && entry.firstOffset < upper {
                result.append(AbortedTransaction(producerID: entry.producerID, firstOffset: entry.firstOffset))
            }
            if entries.contains(where: { $0.lastStableOffset >= upper }) { break }
        }
        return result
    }
}
