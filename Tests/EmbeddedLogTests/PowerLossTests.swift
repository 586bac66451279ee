// PowerLossTests: recovery of every disk that a power loss could leave keeps what was acknowledged and invents nothing.

import Synchronization
import Testing

@testable import EmbeddedLog

@Suite("Power loss")
struct PowerLossTests {
    /// A disk as it could be after a power loss, and what the store had promised by then.
    private struct Image {
        var fileSystem: MemoryFileSystem
        var acknowledgedEnd: Int64
        var topicExists: Bool
        var start: Int64
    }

    /// What a workload promised, read by the hook that takes images in the middle of file operations.
    private final class Promise: Sendable {
        let values = Mutex((end: Int64(0), start: Int64(0), topicExists: false))
        let images = Mutex<[Image]>([])
        let random: Mutex<SeededRandom>

        init(seed: UInt64) { random = Mutex(SeededRandom(seed ^ 0xABCD)) }

        func take(_ fileSystem: MemoryFileSystem, chance: Double) {
            random.withLock { random in
                guard Double.random(in: 0..<1, using: &random) < chance else { return }
                let promised = values.withLock { $0 }
                let image = Image(
                    fileSystem: fileSystem.image(&random), acknowledgedEnd: promised.end,
                    topicExists: promised.topicExists, start: promised.start)
                images.withLock { $0.append(image) }
            }
        }
    }

    /// What the log must hold at each offset; nil for a marker.
    private final class Model {
        var values: [Int64: String] = [:]
        /// The batches in order: offset, producer, kind.
        var batches: [(offset: Int64, producer: Int64, kind: Kind)] = []

        enum Kind { case plain, transactional, commit, abort }

        func committed(below end: Int64) -> [Int64] {
            var open: [Int64: [Int64]] = [:]
            var aborted: Set<Int64> = []
            for batch in batches where batch.offset < end {
                switch batch.kind {
                case .plain: break
                case .transactional: open[batch.producer, default: []].append(batch.offset)
                case .commit: open[batch.producer] = nil
                case .abort: aborted.formUnion(open.removeValue(forKey: batch.producer) ?? [])
                }
            }
            let stable = open.values.compactMap(\.first).min() ?? end
            return batches.map(\.offset).filter { $0 < stable && !aborted.contains($0) && values[$0] != nil }
        }
    }

    @Test("No acknowledged record is lost and none appears that was not written", arguments: 0..<30)
    func images(seed: Int) throws {
        var random = SeededRandom(UInt64(seed))
        let model = Model()
        let promise = Promise(seed: UInt64(seed))
        let fileSystem = MemoryFileSystem()
        fileSystem.onChange.withLock { hook in
            hook = { [unowned fileSystem] in promise.take(fileSystem, chance: 0.06) }
        }
        try workload(fileSystem, model, promise, steps: 120, &random)
        let images = promise.images.withLock { $0 }
        #expect(images.count >= 25, "seed \(seed)")
        for (number, image) in images.enumerated() {
            try check(image, model, "seed \(seed), image \(number)")
        }
    }

    @Test("Loss after loss: a recovered log goes on and is recovered again", arguments: 100..<115)
    func again(seed: Int) throws {
        var random = SeededRandom(UInt64(seed))
        let model = Model()
        var fileSystem = MemoryFileSystem()
        var images = 0
        for round in 0..<4 {
            let promise = Promise(seed: UInt64(seed * 10 + round))
            fileSystem.onChange.withLock { hook in
                hook = { [unowned fileSystem] in promise.take(fileSystem, chance: 0.06) }
            }
            try workload(fileSystem, model, promise, steps: 40, &random)
            fileSystem.onChange.withLock { $0 = nil }
            let taken = promise.images.withLock { $0 }.filter(\.topicExists)
            for image in taken { try check(image, model, "seed \(seed), round \(round)") }
            images += taken.count
            guard let next = taken.randomElement(using: &random) else { continue }
            // What the chosen disk does not hold never happened.
            fileSystem = next.fileSystem
            let end = try #require(try Harness(fileSystem).store.partition("t", 0)).logEndOffset
            model.batches.removeAll { $0.offset >= end }
            model.values = model.values.filter { $0.key < end }
        }
        #expect(images > 10)
    }

    private func workload(
        _ fileSystem: MemoryFileSystem, _ model: Model, _ promise: Promise, steps: Int, _ random: inout SeededRandom
    ) throws {
        let harness = try Harness(fileSystem, policy: .groupCommit)
        let log =
            try harness.store.partition("t", 0)
            ?? harness.store.createTopic("t", partitions: 1, overrides: ["segment.bytes": "1500"]).partitions[0]
        promise.values.withLock { $0 = (log.logEndOffset, log.logStartOffset, true) }
        for step in 0..<steps {
            let producer = Int64.random(in: 0..<3, using: &random)
            let isOpen = log.producer(producer)?.transactionFirstOffset != nil
            let offset = log.logEndOffset
            let result: AppendResult
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4:
                let size = Int.random(in: 1..<900, using: &random)
                let value = "\(step)-" + String(repeating: "x", count: size)
                model.values[offset] = value
                model.batches.append((offset, -1, .plain))
                result = try log.put(value)
            case 4..<7:
                let sequence = (log.producer(producer)?.lastSequence ?? -1) + 1
                model.values[offset] = "t\(step)"
                model.batches.append((offset, producer, .transactional))
                result = try log.put(
                    "t\(step)",
                    producer: BatchProducer(id: producer, epoch: 0, baseSequence: sequence, isTransactional: true))
            case 7..<9 where isOpen:
                let commits = Bool.random(using: &random)
                model.batches.append((offset, producer, commits ? .commit : .abort))
                result = try log.appendMarker(
                    producerID: producer, producerEpoch: 0, coordinatorEpoch: 0, commit: commits)
            default:
                harness.mailbox.drain()
                if Int.random(in: 0..<8, using: &random) == 0 {
                    let start = Int64.random(in: log.logStartOffset...log.highWatermark, using: &random)
                    _ = try log.deleteRecords(before: start)
                    promise.values.withLock { $0.start = log.logStartOffset }
                }
                continue
            }
            harness.store.whenDurable(result.position) { outcome in
                guard case .success = outcome else { return }
                promise.values.withLock { $0.end = max($0.end, result.lastOffset + 1) }
            }
            if Int.random(in: 0..<3, using: &random) == 0 { harness.mailbox.drain() }
        }
    }

    private func check(_ image: Image, _ model: Model, _ place: String) throws {
        let harness = try Harness(image.fileSystem)
        guard let log = harness.store.partition("t", 0) else {
            #expect(!image.topicExists, "\(place): the topic is lost")
            return
        }
        #expect(log.logEndOffset >= image.acknowledgedEnd, "\(place): an acknowledged record is lost")
        #expect(log.logStartOffset >= image.start, "\(place): deleted records are back")
        let expected = (log.logStartOffset..<log.logEndOffset).compactMap { model.values[$0] }
        #expect(try log.values() == expected, "\(place): other records than were written")
        let committed = try log.records(.readCommitted).map(\.offset)
        let start = log.logStartOffset
        #expect(
            committed == model.committed(below: log.logEndOffset).filter { $0 >= start },
            "\(place): other committed records than were decided")
    }

    @Test("A torn tail is cut off, whatever byte it is torn at")
    func tornTail() throws {
        let harness = try Harness()
        let log = try harness.topic()
        try log.put("kept")
        let path = log.segments[0].logPath
        try log.put("torn", "and more")
        let bytes = try #require(try harness.fileSystem.contents(of: path))
        let first = RecordBatchReader.batches(bytes.span.bytes)[0].range.upperBound
        for length in first..<bytes.count {
            try harness.fileSystem.write(Array(bytes[..<length]), to: path)
            let other = MemoryFileSystem(harness.fileSystem.state.withLock { $0 })
            other.state.withLock { $0.locks.removeAll() }
            let recovered = try #require(try Harness(other).store.partition("t", 0))
            #expect(try recovered.values() == ["kept"])
            #expect(recovered.logEndOffset == 1)
            try recovered.put("next")
            #expect(try recovered.values() == ["kept", "next"])
        }
    }
}
