// LogContext: what all partitions of a store share.

/// The store's file system, clock, bounds and background threads, and whether it still accepts records.
final class LogContext {
    let fileSystem: any FileSystem
    let options: StoreOptions
    let clock: @Sendable () -> Int64
    let cache: SegmentCache
    /// Fsync and the checkpoints that follow it, in order.
    let flusher: BackgroundQueue
    /// Compaction and the removal of files.
    let maintenance: BackgroundQueue
    let health = FlushHealth()
    /// Why nothing may be appended any more.
    private(set) var refusal: LogError?
    /// Reused for the bytes of each append.
    var scratch: [UInt8] = []

    init(
        fileSystem: any FileSystem, options: StoreOptions, clock: @escaping @Sendable () -> Int64,
        executor: @escaping OwnerExecutor
    ) {
        self.fileSystem = fileSystem
        self.options = options
        self.clock = clock
        cache = SegmentCache(segmentsMax: options.openSegmentsMax, indexBytesMax: options.indexBytesMax)
        flusher = BackgroundQueue(
            label: "penstock.log.flush", threaded: options.backgroundThreads, executor: executor)
        maintenance = BackgroundQueue(
            label: "penstock.log.maintenance", threaded: options.backgroundThreads, executor: executor)
    }

    /// Refuses all later appends: after a failed fsync nobody knows what is on the disk.
    func refuse(_ error: LogError) {
        if refusal == nil { refusal = error }
    }

    func checkWritable() throws(LogError) {
        if let refusal { throw refusal }
    }

    lazy var durability = Durability(self)
}

/// Runs a file operation, turning its error into the log's.
func storing<Output>(_ body: () throws(FileError) -> Output) throws(LogError) -> Output {
    do {
        return try body()
    } catch {
        throw LogError(error)
    }
}
