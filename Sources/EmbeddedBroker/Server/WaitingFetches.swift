// WaitingFetches: fetches that found too little, until records come or their time is over.

import EmbeddedLog
import NIOCore

/// A fetch that waits.
final class WaitingFetch {
    /// The partitions it waits for, with the offset from which on records are news.
    let watched: [(partition: PartitionLog, offset: Int64)]
    let isolation: Isolation
    /// Tries again; true if it has answered. With `isLast` it answers whatever there is.
    let attempt: (_ isLast: Bool) -> Bool
    fileprivate var timer: Scheduled<Void>?
    fileprivate var isDone = false

    init(
        watched: [(partition: PartitionLog, offset: Int64)], isolation: Isolation,
        attempt: @escaping (_ isLast: Bool) -> Bool
    ) {
        self.watched = watched
        self.isolation = isolation
        self.attempt = attempt
    }

    fileprivate func isNews(in partition: PartitionLog) -> Bool {
        let end = isolation == .readCommitted ? partition.lastStableOffset : partition.highWatermark
        return watched.contains { $0.partition === partition && end > $0.offset }
    }
}

/// Wakes fetches when a partition shows more. Used on the broker's event loop only.
final class WaitingFetches {
    private let loop: any EventLoop
    private var waiting: [ObjectIdentifier: [WaitingFetch]] = [:]
    private var visible: [PartitionLog] = []
    private var isDrainScheduled = false

    init(loop: any EventLoop) { self.loop = loop }

    func add(_ fetch: WaitingFetch, waitMilliseconds: Int64) {
        for (partition, _) in fetch.watched { waiting[ObjectIdentifier(partition), default: []].append(fetch) }
        let bound = NIOLoopBound((self, fetch), eventLoop: loop)
        fetch.timer = loop.scheduleTask(in: .milliseconds(waitMilliseconds)) {
            let (fetches, fetch) = bound.value
            fetches.finish(fetch, isLast: true)
        }
    }

    /// Called in the midst of an append: remembers the partition and looks at its fetches afterwards.
    func becameVisible(_ partition: PartitionLog) {
        guard waiting[ObjectIdentifier(partition)] != nil else { return }
        if !visible.contains(where: { $0 === partition }) { visible.append(partition) }
        guard !isDrainScheduled else { return }
        isDrainScheduled = true
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.execute { bound.value.drain() }
    }

    private func drain() {
        isDrainScheduled = false
        let partitions = visible
        visible = []
        for partition in partitions {
            for fetch in waiting[ObjectIdentifier(partition)] ?? [] where fetch.isNews(in: partition) {
                finish(fetch, isLast: false)
            }
        }
    }

    private func finish(_ fetch: WaitingFetch, isLast: Bool) {
        guard !fetch.isDone, fetch.attempt(isLast) else { return }
        remove(fetch)
    }

    private func remove(_ fetch: WaitingFetch) {
        fetch.isDone = true
        fetch.timer?.cancel()
        for (partition, _) in fetch.watched {
            let key = ObjectIdentifier(partition)
            waiting[key]?.removeAll { $0 === fetch }
            if waiting[key]?.isEmpty == true { waiting[key] = nil }
        }
    }

    /// A topic is gone: its fetches are answered.
    func topicDeleted(_ partitions: [PartitionLog]) {
        for partition in partitions {
            for fetch in waiting[ObjectIdentifier(partition)] ?? [] { finish(fetch, isLast: true) }
        }
    }

    func cancelAll() {
        for fetches in waiting.values {
            for fetch in fetches { fetch.timer?.cancel() }
        }
        waiting = [:]
    }
}
