// PartitionLog+Retention: removes old segments and records.

extension PartitionLog {
    /// Moves the log's start up to `offset` (-1: the high watermark), durably; returns the new start.
    public func deleteRecords(before offset: Int64) throws(LogError) -> Int64 {
        try context.checkWritable()
        let target = offset == -1 ? highWatermark : offset
        guard target >= 0, target <= highWatermark else {
            throw LogError(.offsetOutOfRange, "offset \(offset); the high watermark is \(highWatermark)")
        }
        guard target > logStartOffset else { return logStartOffset }
        var marks = checkpoint
        marks.logStartOffset = target
        let (directory, fileSystem, health) = (directory, context.fileSystem, context.health)
        let written = context.flusher.wait { [marks] in Self.write(marks, in: directory, fileSystem, health) }
        guard written else { throw LogError(.storage, "\(directory): the new start cannot be written") }
        checkpoint.logStartOffset = target
        changedSinceOpen = true
        logStartOffset = target
        try removeOldSegments(now: context.clock())
        return logStartOffset
    }

    /// Rolls and removes what is due.
    func retain(now: Int64) throws(LogError) {
        let active = try activeSegment()
        if active.size > 0, let first = active.firstAppendMilliseconds, now - first >= config.segmentMilliseconds {
            try roll()
        } else if active.size > 0, config.deletes, isExpired(active, now), highWatermark == logEndOffset {
            try roll()
        }
        try removeOldSegments(now: now)
        producerTable.expire(
            before: now.addingClamped(-context.options.producerExpiryMilliseconds),
            countMax: context.options.producersPerPartitionMax)
    }

    private func isExpired(_ segment: Segment, _ now: Int64) -> Bool {
        guard let retention = config.retentionMilliseconds else { return false }
        let newest = segment === segments.last ? segment.index?.maxTimestamp : try? opened(segment).index.maxTimestamp
        guard let newest, newest >= 0 else { return false }
        return now.addingClamped(-newest) > retention
    }

    /// Removes the leading segments that are wholly below the start, too old or too many.
    private func removeOldSegments(now: Int64) throws(LogError) {
        guard !isCompacting else { return }
        var size = sizeBytes
        var count = 0
        while count < segments.count - 1 {
            let segment = segments[count]
            let end = segments[count + 1].baseOffset
            guard end <= highWatermark, end <= recoveryPoint else { break }
            let tooMany = config.retentionBytes.map { size - segment.size >= $0 } ?? false
            guard end <= logStartOffset || (config.deletes && (tooMany || isExpired(segment, now))) else { break }
            size -= segment.size
            count += 1
        }
        guard count > 0 else { return }
        let removed = Array(segments[..<count])
        segments.removeFirst(count)
        for segment in removed { context.cache.remove(segment) }
        logStartOffset = max(logStartOffset, segments[0].baseOffset)
        checkpoint.logStartOffset = logStartOffset
        changedSinceOpen = true
        remove(removed.map { [$0.logPath, $0.indexPath, $0.snapshotPath] })
    }

    /// Removes files in the background, after the new start is durable: a hole is never taken for the log's start.
    private func remove(_ paths: [[String]]) {
        let (directory, fileSystem, marks, health) = (directory, context.fileSystem, checkpoint, context.health)
        let maintenance = context.maintenance
        context.flusher.run {
            Self.write(marks, in: directory, fileSystem, health)
        } then: { written in
            guard written else { return }
            maintenance.run {
                for path in paths.joined() { try? fileSystem.remove(path) }
            } then: { _ in
            }
        }
    }
}
