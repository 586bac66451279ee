// PartitionLog+Append: checks, writes and takes note of new batches.

extension PartitionLog {
    /// Appends the record batches of a produce request: all of them or none.
    ///
    /// Only base offset and leader epoch are rewritten, and under append time the time; the rest stays as it came.
    ///
    /// - Parameters:
    ///   - recordSet: record batches of format 2: exactly one from a client, as Kafka demands; one or more otherwise.
    ///   - leaderEpoch: written into the batches.
    ///   - origin: control batches are accepted from the coordinator only.
    /// - Throws: an error with the Kafka code for the client; after any error nothing has been appended.
    public func append(
        _ recordSet: RawSpan, leaderEpoch: Int32 = 0, origin: AppendOrigin = .client
    ) throws(LogError) -> AppendResult {
        try context.checkWritable()
        _ = try activeSegment()
        let now = context.clock()
        var headers = try BatchValidator(config: config, origin: origin, now: now).headers(of: recordSet)
        if let earlier = try checkProducers(headers, recordSet, origin) {
            return AppendResult(
                baseOffset: earlier.baseOffset, lastOffset: earlier.lastOffset,
                logAppendTime: config.usesAppendTime ? earlier.timestamp : -1, logStartOffset: logStartOffset,
                position: context.durability.position, isDuplicate: true)
        }
        let segment = try segmentForAppend(byteCount: recordSet.byteCount, headers, now, origin)
        prepare(recordSet, &headers, leaderEpoch: leaderEpoch, now)
        try write(recordSet.byteCount, to: segment)
        let baseOffset = logEndOffset
        note(headers, in: segment, recordSet, now)
        let position = context.durability.appended(to: self)
        if context.options.flushPolicy != .groupCommit { raiseHighWatermark(to: logEndOffset) }
        return AppendResult(
            baseOffset: baseOffset, lastOffset: logEndOffset - 1, logAppendTime: config.usesAppendTime ? now : -1,
            logStartOffset: logStartOffset, position: position, isDuplicate: false)
    }

    /// Ends a producer's transaction in this partition with a commit or abort marker.
    ///
    /// Without an open transaction the marker is written all the same (it fences older epochs), as in Kafka.
    @discardableResult
    public func appendMarker(
        producerID: Int64, producerEpoch: Int16, coordinatorEpoch: Int32, commit: Bool, leaderEpoch: Int32 = 0
    ) throws(LogError) -> AppendResult {
        let bytes = RecordBatchBuilder.marker(
            producerID: producerID, producerEpoch: producerEpoch, coordinatorEpoch: coordinatorEpoch, commit: commit,
            timestamp: context.clock())
        return try unsafe append(bytes.span.bytes, leaderEpoch: leaderEpoch, origin: .coordinator)
    }

    /// Sequences and epochs; the earlier batch if a client repeats one.
    private func checkProducers(
        _ headers: [BatchHeader], _ recordSet: RawSpan, _ origin: AppendOrigin
    ) throws(LogError) -> ProducerTable.Batch? {
        var position = 0
        for header in headers {
            defer { position += header.byteCount }
            guard header.hasProducer else { continue }
            if header.isControl {
                let batch = recordSet.extracting(position..<(position + header.byteCount))
                guard let marker = TransactionMarker.parse(header, batch) else {
                    throw LogError(.invalidRecord, "a control batch that is no transaction marker")
                }
                try producerTable.checkMarker(header, coordinatorEpoch: marker.coordinatorEpoch)
            } else if origin == .coordinator {
                try producerTable.checkEpoch(header)
            } else if let earlier = try producerTable.check(header) {
                return earlier
            }
        }
        return nil
    }

    /// The active segment, rolled before if it is full or old.
    private func segmentForAppend(
        byteCount: Int, _ headers: [BatchHeader], _ now: Int64, _ origin: AppendOrigin
    ) throws(LogError) -> Segment {
        if Int64(byteCount) > config.segmentBytes, origin == .client {
            throw LogError(.recordListTooLarge, "\(byteCount) bytes; segment.bytes is \(config.segmentBytes)")
        }
        let segment = try activeSegment()
        let count = headers.reduce(Int64(0)) { $0 + Int64($1.recordCount) }
        let age = segment.firstAppendMilliseconds.map { now - $0 } ?? 0
        if segment.size > 0,
            segment.size + Int64(byteCount) > config.segmentBytes || age >= config.segmentMilliseconds
                || logEndOffset + count - segment.baseOffset > Int64(Int32.max)
        {
            try roll()
        }
        return try activeSegment()
    }

    /// Copies the set into the scratch buffer with the fields that the log sets.
    private func prepare(_ recordSet: RawSpan, _ headers: inout [BatchHeader], leaderEpoch: Int32, _ now: Int64) {
        let count = recordSet.byteCount
        if context.scratch.count < count {
            context.scratch = [UInt8](repeating: 0, count: max(count, 64 << 10))
        }
        // Source and target are distinct; the target holds `count` bytes.
        unsafe context.scratch.withUnsafeMutableBytes { target in
            unsafe recordSet.withUnsafeBytes { source in unsafe target.copyMemory(from: source) }
        }
        var position = 0
        var offset = logEndOffset
        for index in headers.indices {
            headers[index].baseOffset = offset
            headers[index].leaderEpoch = leaderEpoch
            context.scratch.setInteger(offset, at: position)
            context.scratch.setInteger(leaderEpoch, at: position + 12)
            let changesType = config.usesAppendTime != headers[index].usesAppendTime
            if changesType { headers[index].attributes ^= BatchHeader.appendTimeBit }
            if changesType || config.usesAppendTime { retime(&headers[index], at: position, now) }
            position += headers[index].byteCount
            offset = headers[index].nextOffset
        }
    }

    /// Sets the time type, and under append time the time; renews the checksum.
    private func retime(_ header: inout BatchHeader, at position: Int, _ now: Int64) {
        if config.usesAppendTime { header.maxTimestamp = now }
        context.scratch.setInteger(header.attributes, at: position + 21)
        context.scratch.setInteger(header.maxTimestamp, at: position + 35)
        let covered = (position + BatchHeader.checksummedFrom)..<(position + header.byteCount)
        header.checksum = Checksum.crc32c(context.scratch, covered)
        context.scratch.setInteger(header.checksum, at: position + 17)
    }

    /// Writes the scratch buffer behind the segment's end; cuts off what a failed write left.
    private func write(_ byteCount: Int, to segment: Segment) throws(LogError) {
        guard let file = segment.file else { throw LogError(.storage, "\(segment.logPath) is not open") }
        try storing { () throws(FileError) in
            if activeNeedsTruncation {
                try file.truncate(to: segment.size)
                activeNeedsTruncation = false
            }
            do throws(FileError) {
                try file.write(prefix: byteCount, of: context.scratch, at: segment.size)
            } catch {
                activeNeedsTruncation = true
                // If this fails too, the next append tries again before it writes.
                try file.truncate(to: segment.size)
                activeNeedsTruncation = false
                throw error
            }
        }
        changedSinceOpen = true
    }

    /// Takes note of batches that are in the file.
    private func note(_ headers: [BatchHeader], in segment: Segment, _ recordSet: RawSpan, _ now: Int64) {
        var start = 0
        for header in headers {
            segment.index?.add(header, position: segment.size, base: segment.baseOffset)
            segment.size += Int64(header.byteCount)
            if segment.firstAppendMilliseconds == nil { segment.firstAppendMilliseconds = now }
            logEndOffset = header.nextOffset
            let marker =
                header.isControl
                ? TransactionMarker.parse(header, recordSet.extracting(start..<(start + header.byteCount))) : nil
            noteProducer(header, marker, in: segment, now)
            start += header.byteCount
        }
    }

    /// Updates the producer table and the aborted transactions.
    func noteProducer(
        _ header: BatchHeader, _ marker: (aborts: Bool, coordinatorEpoch: Int32)?, in segment: Segment, _ now: Int64
    ) {
        guard header.hasProducer else { return }
        guard header.isControl else { return producerTable.appended(header, at: now) }
        guard let marker,
            let completed = producerTable.ended(
                header, aborts: marker.aborts, coordinatorEpoch: marker.coordinatorEpoch, at: now)
        else { return }
        undecided.append(completed)
        guard completed.isAborted else { return }
        segment.index?.aborted.append(
            AbortedEntry(
                producerID: completed.producerID, firstOffset: completed.firstOffset,
                lastOffset: completed.markerOffset, lastStableOffset: completed.lastStableOffset))
    }

    /// Closes the active segment and begins the next one at the log's end.
    func roll() throws(LogError) {
        let closing = try activeSegment()
        guard let closingFile = closing.file, let index = closing.index else {
            throw LogError(.storage, "\(closing.logPath) is not open")
        }
        let next = Segment(baseOffset: logEndOffset, directory: directory)
        try storing { () throws(FileError) in
            let fileSystem = context.fileSystem
            if activeNeedsTruncation {
                try closingFile.truncate(to: closing.size)
                activeNeedsTruncation = false
            }
            let indexFile = try fileSystem.write(
                index.encode(base: closing.baseOffset, segmentSize: closing.size), to: closing.indexPath)
            let snapshot = try fileSystem.write(ProducerSnapshot.encode(producerTable), to: next.snapshotPath)
            // Last: a new file that stayed after a failure would stand between older and newer records. It is empty, as
            // recovery removes every file behind the log's end.
            let file = try fileSystem.open(next.logPath, create: true)
            next.file = file
            unsyncedFiles += [closingFile, indexFile, snapshot]
        }
        next.index = SegmentIndex()
        closing.maxTimestamp = index.maxTimestamp
        closing.aborted = index.aborted
        context.cache.insert(closing)
        segments.append(next)
        directoryIsDirty = true
        changedSinceOpen = true
        context.durability.rolled(self)
    }
}
