// PartitionLog+Compaction: hands closed segments to the compactor and takes over what it made.

extension PartitionLog {
    /// What there is to compact; nil if it is not worth it yet.
    func compactionJob(now: Int64) -> CompactionJob? {
        guard config.compacts, !isCompacting, !isDeleted else { return nil }
        let limit = min(lastStableOffset, recoveryPoint)
        var inputs: [CompactionJob.Input] = []
        var total: Int64 = 0
        var dirty: Int64 = 0
        for number in 0..<max(0, segments.count - 1) {
            let segment = segments[number]
            let end = segments[number + 1].baseOffset
            guard end <= limit, let index = try? opened(segment).index,
                config.compactionLagMilliseconds == 0
                    || now.addingClamped(-index.maxTimestamp) >= config.compactionLagMilliseconds
            else { break }
            total += segment.size
            if end > checkpoint.compactedTo { dirty += segment.size }
            inputs.append(
                CompactionJob.Input(
                    baseOffset: segment.baseOffset, endOffset: end, size: segment.size, path: segment.logPath,
                    aborted: index.aborted, compactedAt: index.compactedAt))
        }
        guard dirty > 0, Double(dirty) >= config.dirtyRatioMin * Double(total) else { return nil }
        guard let aborted = try? abortedEntries() else { return nil }
        return CompactionJob(
            fileSystem: context.fileSystem, inputs: inputs, aborted: aborted, dirtyFrom: checkpoint.compactedTo,
            keysMax: context.options.compactionKeysMax, now: now,
            deleteRetentionMilliseconds: config.deleteRetentionMilliseconds)
    }

    private func abortedEntries() throws(LogError) -> [AbortedEntry] {
        var entries: [AbortedEntry] = []
        for segment in segments { entries += try opened(segment).index.aborted }
        return entries
    }

    /// Compacts in the background, if there is enough to do.
    func startCompaction(now: Int64) {
        guard let job = compactionJob(now: now) else { return }
        isCompacting = true
        let owner = OwnerConfined(self)
        context.maintenance.run {
            job.run()
        } then: { result in
            owner.value.finishCompaction(result)
        }
    }

    /// Puts the compacted files in place of the old ones. Either is right, so nothing needs to be durable
    /// before.
    private func finishCompaction(_ result: Result<CompactionJob.Output, LogError>) {
        isCompacting = false
        guard !isDeleted, context.refusal == nil, case .success(let output) = result else { return }
        let fileSystem = context.fileSystem
        for outcome in output.segments {
            guard let segment = segments.first(where: { $0.baseOffset == outcome.baseOffset }),
                segment !== segments.last
            else { continue }
            context.cache.remove(segment)
            do throws(FileError) {
                if let cleaned = outcome.cleanedPath { try fileSystem.rename(cleaned, to: segment.logPath) }
                segment.size = outcome.size
                try fileSystem.write(
                    outcome.index.encode(base: segment.baseOffset, segmentSize: outcome.size), to: segment.indexPath)
            } catch {
                // An old index does not fit the new file and is rebuilt; an old file stays whole.
                break
            }
            segment.maxTimestamp = outcome.index.maxTimestamp
            segment.aborted = outcome.index.aborted
        }
        checkpoint.compactedTo = max(checkpoint.compactedTo, output.compactedTo)
        changedSinceOpen = true
        let (directory, marks, health) = (directory, checkpoint, context.health)
        // The mark moves only after the renames are durable: a tombstone must not go before what it deletes.
        context.flusher.run {
            do throws(FileError) { try fileSystem.syncDirectory(directory) } catch { return false }
            return Self.write(marks, in: directory, fileSystem, health)
        } then: { _ in
        }
        if !output.isComplete { startCompaction(now: context.clock()) }
    }
}
