// PartitionLog+Recovery: opens a partition's directory, after a clean shutdown or not.

extension PartitionLog {
    /// Opens the partition.
    ///
    /// After a clean shutdown sizes and snapshots are taken as they are. Otherwise every batch from the recovery point on
    /// is read and checked; the log ends before the first that is not whole, and what follows is removed.
    func open(storeWasClean: Bool) throws(LogError) {
        let fileSystem = context.fileSystem
        let names = try storing { () throws(FileError) in try fileSystem.list(directory) } ?? []
        try removeLeftovers(names)
        let savedCheckpoint = try readCheckpoint()
        checkpoint = savedCheckpoint ?? PartitionCheckpoint()
        recoveryPoint = checkpoint.recoveryPoint
        let bases = names.compactMap { Segment.offset(in: $0, ending: "log") }.sorted()
        for base in bases {
            let segment = Segment(baseOffset: base, directory: directory)
            segment.size = try storing { () throws(FileError) in
                try fileSystem.open(segment.logPath, create: false).size()
            }
            segments.append(segment)
        }
        if !(storeWasClean ? try openCleanly() : false) {
            try recover(names, allowsGaps: savedCheckpoint == nil)
        }
        let firstBase = segments.first?.baseOffset ?? 0
        logStartOffset = min(logEndOffset, max(checkpoint.logStartOffset, firstBase))
        highWatermark = logEndOffset
        changedSinceOpen = checkpoint.cleanEndOffset == nil
    }

    /// Removes what an interrupted replacement or compaction left.
    private func removeLeftovers(_ names: [String]) throws(LogError) {
        for name in names where name.hasSuffix(".tmp") || name.hasSuffix(".cleaned") {
            try storing { () throws(FileError) in try context.fileSystem.remove(directory + "/" + name) }
        }
    }

    /// Nil if the file is missing or damaged, which no crash does: everything is checked then, and gaps, which compaction
    /// may have made, are taken as they are.
    private func readCheckpoint() throws(LogError) -> PartitionCheckpoint? {
        let path = directory + "/" + PartitionCheckpoint.fileName
        let bytes = try storing { () throws(FileError) in try context.fileSystem.contents(of: path) }
        return bytes.flatMap(PartitionCheckpoint.init)
    }

    /// Takes the files as they are; false if they are not what the clean shutdown left.
    private func openCleanly() throws(LogError) -> Bool {
        guard let end = checkpoint.cleanEndOffset, let size = checkpoint.cleanActiveSize, let active = segments.last,
            active.size == size, end >= active.baseOffset, checkpoint.recoveryPoint == active.baseOffset,
            let table = try snapshot(at: end)
        else { return false }
        let bytes = try storing { () throws(FileError) in try context.fileSystem.contents(of: active.indexPath) }
        guard let bytes, let index = SegmentIndex(bytes, base: active.baseOffset, segmentSize: size) else {
            return false
        }
        try openActive(active, index: index)
        producerTable = table
        logEndOffset = end
        return true
    }

    private func openActive(_ segment: Segment, index: SegmentIndex) throws(LogError) {
        segment.file = try storing { () throws(FileError) in
            try context.fileSystem.open(segment.logPath, create: true)
        }
        segment.index = index
        if segment.size > 0 { segment.firstAppendMilliseconds = context.clock() }
    }

    /// The producer table saved at an offset; nil if missing or damaged.
    private func snapshot(at offset: Int64) throws(LogError) -> ProducerTable? {
        let path = Segment.path(directory, offset, "snapshot")
        return try storing { () throws(FileError) in try context.fileSystem.contents(of: path) }
            .flatMap(ProducerSnapshot.decode)
    }

    private func recover(_ names: [String], allowsGaps: Bool) throws(LogError) {
        checkpoint.cleanEndOffset = nil
        checkpoint.cleanActiveSize = nil
        var first = segments.firstIndex { $0.baseOffset >= recoveryPoint } ?? segments.count
        if first < segments.count, segments[first].baseOffset > recoveryPoint, first > 0 || recoveryPoint > 0 {
            // The segment at the recovery point is missing: what follows cannot be told from an older log.
            try dropSegments(from: first)
        }
        if segments.isEmpty {
            first = 0
            let base = max(recoveryPoint, checkpoint.logStartOffset)
            segments.append(Segment(baseOffset: base, directory: directory))
        } else if first == segments.count {
            segments.append(Segment(baseOffset: recoveryPoint, directory: directory))
        }
        logEndOffset = segments[first].baseOffset
        producerTable = try producerTable(before: first)
        var number = first
        while number < segments.count {
            let isLast = number + 1 == segments.count
            let isWhole = try scan(segments[number], allowsGaps: allowsGaps && !isLast)
            number += 1
            guard !isLast else { break }
            let nextBase = segments[number].baseOffset
            if isWhole, nextBase == logEndOffset || (allowsGaps && nextBase > logEndOffset) {
                logEndOffset = nextBase
            } else {
                try dropSegments(from: number)
            }
        }
        undecided.removeAll()
        try finishRecovery(from: first, names)
    }

    /// Removes segments that lie behind the point where the log ends.
    private func dropSegments(from number: Int) throws(LogError) {
        for segment in segments[number...] {
            try storing { () throws(FileError) in
                try context.fileSystem.remove(segment.logPath)
                try context.fileSystem.remove(segment.indexPath)
            }
        }
        segments.removeSubrange(number...)
    }

    /// Checks every batch of a segment; cuts the file before the first that is not whole.
    private func scan(_ segment: Segment, allowsGaps: Bool) throws(LogError) -> Bool {
        let file = try storing { () throws(FileError) in
            try context.fileSystem.open(segment.logPath, create: true)
        }
        segment.file = file
        segment.index = SegmentIndex()
        let fileSize = segment.size
        segment.size = 0
        let now = context.clock()
        var scanner = SegmentScanner(file, from: 0, to: fileSize, windowBytes: SegmentScanner.bulkBytes)
        while let batch = try scanner.next(),
            batch.header.baseOffset == logEndOffset || (allowsGaps && batch.header.baseOffset > logEndOffset),
            try scanner.isIntact(batch)
        {
            let marker = batch.header.isControl ? try scanner.markerAborts(batch) : nil
            segment.index?.add(batch.header, position: segment.size, base: segment.baseOffset)
            segment.size += Int64(batch.header.byteCount)
            logEndOffset = batch.header.nextOffset
            noteProducer(batch.header, marker, in: segment, now)
        }
        if segment.size > 0 { segment.firstAppendMilliseconds = now }
        guard segment.size < fileSize else { return true }
        try storing { () throws(FileError) in try file.truncate(to: segment.size) }
        return false
    }

    /// Makes durable what recovery found, so that it is never taken back once it was shown.
    private func finishRecovery(from first: Int, _ names: [String]) throws(LogError) {
        let fileSystem = context.fileSystem
        for number in first..<segments.count {
            let segment = segments[number]
            guard let file = segment.file, let index = segment.index else { continue }
            try storing { () throws(FileError) in
                try file.sync()
                guard number < segments.count - 1 else { return }
                try fileSystem.write(
                    index.encode(base: segment.baseOffset, segmentSize: segment.size), to: segment.indexPath
                ).sync()
            }
            if number < segments.count - 1 {
                segment.maxTimestamp = index.maxTimestamp
                segment.aborted = index.aborted
                context.cache.insert(segment)
            }
        }
        // Snapshots from beyond the end or from inside the checked part describe batches that may be gone.
        let keep = Set(segments[...first].map(\.baseOffset))
        for name in names {
            guard let offset = Segment.offset(in: name, ending: "snapshot"), !keep.contains(offset) else { continue }
            try storing { () throws(FileError) in try fileSystem.remove(directory + "/" + name) }
        }
        if let active = segments.last, active.baseOffset > segments[first].baseOffset {
            // The next recovery starts at the active segment: the table there is that of its scan's start.
            let table = try producerTable(before: segments.count - 1)
            try storing { () throws(FileError) in
                try fileSystem.write(ProducerSnapshot.encode(table), to: active.snapshotPath).sync()
            }
        }
        try storing { () throws(FileError) in try fileSystem.syncDirectory(directory) }
        if let base = segments.last?.baseOffset { checkpoint.recoveryPoint = base }
        guard Self.write(checkpoint, in: directory, fileSystem, context.health) else {
            // No space: recovery starts from the same point next time.
            checkpoint.recoveryPoint = recoveryPoint
            return
        }
        recoveryPoint = checkpoint.recoveryPoint
    }

    /// The producers known where a segment begins: from the nearest snapshot before it, and the batches since.
    private func producerTable(before number: Int) throws(LogError) -> ProducerTable {
        var start = number
        var table = try snapshot(at: segments[number].baseOffset)
        while table == nil, start > 0 {
            start -= 1
            table = try snapshot(at: segments[start].baseOffset)
        }
        var result = table ?? ProducerTable()
        for segment in segments[start..<number] {
            let file = try storing { () throws(FileError) -> any LogFile in
                if let file = segment.file { return file }
                return try context.fileSystem.open(segment.logPath, create: false)
            }
            _ = try Self.replay(segment, file, into: &result, now: context.clock())
        }
        return result
    }

    /// An index made from the log file alone.
    func rebuiltIndex(of segment: Segment, _ file: any LogFile) throws(LogError) -> SegmentIndex {
        guard let number = segments.firstIndex(where: { $0 === segment }) else { return SegmentIndex() }
        var table = try producerTable(before: number)
        return try Self.replay(segment, file, into: &table, now: context.clock())
    }

    /// Walks a segment whose batches are trusted.
    private static func replay(
        _ segment: Segment, _ file: any LogFile, into table: inout ProducerTable, now: Int64
    ) throws(LogError) -> SegmentIndex {
        var index = SegmentIndex()
        var scanner = SegmentScanner(file, from: 0, to: segment.size)
        while let batch = try scanner.next() {
            index.add(batch.header, position: batch.position, base: segment.baseOffset)
            guard batch.header.hasProducer else { continue }
            guard batch.header.isControl else {
                table.appended(batch.header, at: now)
                continue
            }
            guard let marker = try scanner.markerAborts(batch),
                let completed = table.ended(
                    batch.header, aborts: marker.aborts, coordinatorEpoch: marker.coordinatorEpoch, at: now),
                completed.isAborted
            else { continue }
            index.aborted.append(
                AbortedEntry(
                    producerID: completed.producerID, firstOffset: completed.firstOffset,
                    lastOffset: completed.markerOffset, lastStableOffset: completed.lastStableOffset))
        }
        return index
    }

    /// Makes everything durable and leaves the marks of a clean shutdown.
    func close() throws(LogError) {
        guard !isDeleted, changedSinceOpen || checkpoint.cleanEndOffset != logEndOffset, let active = segments.last,
            let index = active.index
        else { return }
        let work = takeFlushWork(includesActive: true)
        if case .failure(let error) = Durability.sync([work], context.fileSystem, context.health) { throw error }
        flushed(work, checkpointed: work.checkpoint != nil)
        let fileSystem = context.fileSystem
        try storing { () throws(FileError) in
            try fileSystem.write(
                index.encode(base: active.baseOffset, segmentSize: active.size), to: active.indexPath
            ).sync()
            try fileSystem.write(
                ProducerSnapshot.encode(producerTable), to: Segment.path(directory, logEndOffset, "snapshot")
            ).sync()
            try fileSystem.syncDirectory(directory)
        }
        checkpoint.recoveryPoint = active.baseOffset
        checkpoint.cleanEndOffset = logEndOffset
        checkpoint.cleanActiveSize = active.size
        guard Self.write(checkpoint, in: directory, fileSystem, context.health) else {
            throw LogError(.storage, "\(directory): the checkpoint cannot be written")
        }
    }
}
