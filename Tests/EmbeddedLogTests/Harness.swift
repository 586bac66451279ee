// Harness: a store in memory with a clock and an executor that the test drives.

import Synchronization

@testable import EmbeddedLog

/// A generator whose sequence follows from its seed (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// Time that stands until it is moved.
final class TestClock: Sendable {
    private let milliseconds = Mutex<Int64>(1_000_000)

    var now: Int64 { milliseconds.withLock { $0 } }
    func advance(_ by: Int64) { milliseconds.withLock { $0 += by } }
}

/// Runs what the store hands to its owner when the test says so.
final class Mailbox: Sendable {
    private let letters = Mutex<[@Sendable () -> Void]>([])

    func post(_ letter: @escaping @Sendable () -> Void) { letters.withLock { $0.append(letter) } }

    func drain() {
        while true {
            let batch = letters.withLock { letters in
                defer { letters.removeAll() }
                return letters
            }
            if batch.isEmpty { return }
            for letter in batch { letter() }
        }
    }
}

/// A store over a file system in memory; background work runs in the caller.
struct Harness {
    let fileSystem: MemoryFileSystem
    let clock: TestClock
    let mailbox = Mailbox()
    let store: LogStore

    init(
        _ fileSystem: MemoryFileSystem = MemoryFileSystem(), clock: TestClock = TestClock(),
        policy: FlushPolicy = .none,
        _ adjust: (inout StoreOptions) -> Void = { _ in }
    ) throws {
        self.fileSystem = fileSystem
        self.clock = clock
        var options = StoreOptions()
        options.flushPolicy = policy
        options.backgroundThreads = false
        adjust(&options)
        let mailbox = mailbox
        store = try LogStore(
            directory: "/data", options: options, fileSystem: fileSystem, clock: { clock.now },
            executor: { mailbox.post($0) })
    }

    func topic(_ overrides: [String: String] = [:], name: String = "t") throws -> PartitionLog {
        try store.createTopic(name, partitions: 1, overrides: overrides).partitions[0]
    }
}

extension PartitionLog {
    @discardableResult
    func append(_ bytes: [UInt8], origin: AppendOrigin = .client) throws(LogError) -> AppendResult {
        try append(bytes.span.bytes, origin: origin)
    }

    /// Appends one batch of text values.
    @discardableResult
    func put(_ values: String..., at timestamp: Int64 = 1_000, producer: BatchProducer? = nil) throws -> AppendResult {
        try append(RecordBatchBuilder.batch(values.map { .text($0, timestamp) }, producer: producer))
    }

    /// All visible records, in reads of at most `maxBytes`.
    func records(_ isolation: Isolation = .readUncommitted, maxBytes: Int = 1 << 20) throws -> [LogRecord] {
        var records: [LogRecord] = []
        var next = logStartOffset
        while true {
            let slice = try locate(from: next, maxBytes: maxBytes, isolation: isolation)
            guard slice.byteCount > 0 else { return records }
            let bytes = try bytes(of: slice)
            let batches = RecordBatchReader.batches(bytes.span.bytes)
            var aborted = slice.abortedTransactions.sorted { $0.firstOffset < $1.firstOffset }
            var open: Set<Int64> = []
            for (header, range) in batches {
                // The algorithm of Kafka's clients.
                while let first = aborted.first, first.firstOffset <= header.lastOffset {
                    open.insert(aborted.removeFirst().producerID)
                }
                if header.isControl { open.remove(header.producerID) }
                if header.isTransactional, open.contains(header.producerID) { continue }
                records += try RecordBatchReader.records(bytes[range].span.bytes).filter { $0.offset >= next }
            }
            next = batches.last?.header.nextOffset ?? logEndOffset
        }
    }

    func values(_ isolation: Isolation = .readUncommitted, maxBytes: Int = 1 << 20) throws -> [String] {
        try records(isolation, maxBytes: maxBytes).map { String(decoding: $0.value ?? [], as: UTF8.self) }
    }
}

extension LogRecord {
    static func text(_ value: String, _ timestamp: Int64 = 1_000, key: String = "k") -> LogRecord {
        LogRecord(key: Array(key.utf8), value: Array(value.utf8), timestamp: timestamp)
    }
}

/// The code of the error that `body` throws; nil if it throws none.
func code(_ body: () throws -> Void) -> LogError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? LogError)?.code
    }
}

extension RecordBatchReader {
    static func batches(in bytes: [UInt8]) -> [(header: BatchHeader, range: Range<Int>)] { batches(bytes.span.bytes) }

    static func records(in bytes: [UInt8]) throws -> [LogRecord] { try records(bytes.span.bytes) }
}
