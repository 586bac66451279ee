// DuplicateWindow: which identities a partition has brought lately.

import Cryptography

/// The identified records among the last records of one partition, found by the hash of their source and id.
///
/// A record is compared with the earliest record of the same identity that stands in its window: at most `recordsMax`
/// offsets before it and published at most `ageMillisecondsMax` before it. Every valid record enters, whatever became
/// of it, so that the verdict depends on nothing but the log within the window. A process that was restarted and has
/// rebuilt the window gives the same verdicts as the one that died.
///
/// Memory: 72 bytes for each record with its share of the index, grown by doubling as records come.
struct DuplicateWindow {
    enum Verdict: Equatable {
        case new
        /// The same identity and payload came at that offset.
        case repeats(offset: Int64)
        /// The same identity came with another payload at that offset.
        case conflicts(offset: Int64)
    }

    struct Occurrence {
        /// Two words of the identity's digest that the event id does not use.
        var key: (UInt64, UInt64)
        var payloadHash: UInt64
        var offset: Int64
        var publishedMilliseconds: Int64
        /// Slot of the next occurrence of the key, or -1.
        fileprivate var next: Int32 = -1
        /// In the earliest occurrence of a key: slot of the latest one.
        fileprivate var last: Int32 = -1

        init(identity: SHA256Digest, payloadHash: UInt64, offset: Int64, publishedMilliseconds: Int64) {
            key = (identity.words.2, identity.words.3)
            self.payloadHash = payloadHash
            self.offset = offset
            self.publishedMilliseconds = publishedMilliseconds
        }
    }

    private struct IndexEntry {
        /// Of the earliest occurrence of a key, or -1.
        var slot: Int32
        /// Bits of the key that do not place it: another key is told apart without a look at its occurrence, which is
        /// seldom in the processor's caches.
        var tag: UInt32

        static let free = IndexEntry(slot: -1, tag: 0)
    }

    private let recordsMax: Int64
    private let ageMillisecondsMax: Int64
    /// A ring of occurrences by offset: sequence s stands in slot `s & (slots.count - 1)`.
    private var slots: [Occurrence?]
    private var first = 0
    private var end = 0
    /// Open addressing with linear probing.
    private var index: [IndexEntry]
    private var newestPublished = Int64.min

    private static let slotsMin = 64
    /// How far back the same process may read again and still give the same verdicts; more than any batch holds.
    private static let rereadRecordsMax: Int64 = 16_384
    /// 0 recognises nothing.
    static let recordsRange = 0...100_000_000

    /// - Precondition: `recordsMax` in `recordsRange`, `ageMillisecondsMax` >= 0.
    init(recordsMax: Int, ageMillisecondsMax: Int64) {
        precondition(
            Self.recordsRange.contains(recordsMax) && ageMillisecondsMax >= 0, "no such duplicate window")
        self.recordsMax = Int64(recordsMax)
        self.ageMillisecondsMax = ageMillisecondsMax
        slots = Array(repeating: nil, count: Self.slotsMin)
        index = Array(repeating: .free, count: 2 * Self.slotsMin)
    }

    var count: Int { end - first }

    /// Judges a record and lets it in. Offsets rise; a lower one means that the partition is read again from there, and
    /// forgets what came from that offset on.
    mutating func admit(_ occurrence: Occurrence) -> Verdict {
        if let newest = newestOffset, occurrence.offset <= newest { rewind(to: occurrence.offset) }
        newestPublished = max(newestPublished, occurrence.publishedMilliseconds)
        evict(before: occurrence.offset)
        // Sought once: the index is larger than the processor's caches.
        let place = place(of: occurrence.key)
        let verdict = judge(occurrence, at: place)
        append(occurrence, at: place)
        return verdict
    }

    private var mask: Int { slots.count - 1 }

    private var newestOffset: Int64? { end > first ? slots[(end - 1) & mask]?.offset : nil }

    private func judge(_ occurrence: Occurrence, at place: Int) -> Verdict {
        var slot = index[place].slot
        // The arithmetic saturates, because publishers may set any timestamp.
        let (oldest, overflow) = occurrence.publishedMilliseconds.subtractingReportingOverflow(ageMillisecondsMax)
        while slot >= 0, let earlier = slots[Int(slot)] {
            let isInReach = occurrence.offset - earlier.offset <= recordsMax
            if isInReach, overflow || earlier.publishedMilliseconds >= oldest {
                return earlier.payloadHash == occurrence.payloadHash
                    ? .repeats(offset: earlier.offset) : .conflicts(offset: earlier.offset)
            }
            slot = earlier.next
        }
        return .new
    }

    private static func tag(of key: (UInt64, UInt64)) -> UInt32 { UInt32(truncatingIfNeeded: key.1) }

    /// Where the key stands in the index, or the free place where it belongs.
    private func place(of key: (UInt64, UInt64)) -> Int {
        var place = Int(truncatingIfNeeded: key.0) & (index.count - 1)
        let tag = Self.tag(of: key)
        while index[place].slot >= 0 {
            if index[place].tag == tag, let found = slots[Int(index[place].slot)], found.key == key { return place }
            place = (place + 1) & (index.count - 1)
        }
        return place
    }

    /// - Parameter place: of the key in the index; sought when nil.
    private mutating func append(_ occurrence: Occurrence, at place: Int? = nil) {
        var place = place
        if count == slots.count {
            grow()
            place = nil
        }
        let slot = Int32(end & mask)
        var entry = occurrence
        entry.next = -1
        entry.last = slot
        slots[Int(slot)] = entry
        end += 1
        link(slot, at: place ?? self.place(of: entry.key), key: entry.key)
    }

    private mutating func link(_ slot: Int32, at place: Int, key: (UInt64, UInt64)) {
        guard index[place].slot >= 0 else {
            index[place] = IndexEntry(slot: slot, tag: Self.tag(of: key))
            return
        }
        let earliest = Int(index[place].slot)
        let latest = Int(slots[earliest]?.last ?? slot)
        slots[latest]?.next = slot
        slots[earliest]?.last = slot
    }

    /// Drops what no later record can see. Beyond twice the age, timestamps out of order by less than the age still
    /// find all that they may see.
    private mutating func evict(before offset: Int64) {
        let (doubled, overflow) = ageMillisecondsMax.multipliedReportingOverflow(by: 2)
        let (oldest, underflow) = newestPublished.subtractingReportingOverflow(doubled)
        while end > first, let oldestEntry = slots[first & mask] {
            let isOutOfReach = offset - oldestEntry.offset > recordsMax + Self.rereadRecordsMax
            let isTooOld = !overflow && !underflow && oldestEntry.publishedMilliseconds < oldest
            guard isOutOfReach || isTooOld else { return }
            unlink(first & mask, oldestEntry)
            slots[first & mask] = nil
            first += 1
        }
    }

    /// Takes the oldest record, which is the earliest of its key, out of the index.
    private mutating func unlink(_ slot: Int, _ entry: Occurrence) {
        var hole = place(of: entry.key)
        guard index[hole].slot == Int32(slot) else { return }
        if entry.next >= 0 {
            slots[Int(entry.next)]?.last = entry.last
            index[hole].slot = entry.next
            return
        }
        // Closes the gap (Knuth, The Art of Computer Programming, volume 3, algorithm 6.4R).
        var probe = hole
        while true {
            probe = (probe + 1) & (index.count - 1)
            guard index[probe].slot >= 0, let other = slots[Int(index[probe].slot)] else { break }
            let home = Int(truncatingIfNeeded: other.key.0) & (index.count - 1)
            let isBetween = hole <= probe ? hole < home && home <= probe : hole < home || home <= probe
            if isBetween { continue }
            index[hole] = index[probe]
            hole = probe
        }
        index[hole] = .free
    }

    private mutating func grow() {
        let kept = entries()
        refill(kept, slotCount: slots.count * 2)
    }

    private mutating func rewind(to offset: Int64) {
        let kept = entries().filter { $0.offset < offset }
        newestPublished = kept.map(\.publishedMilliseconds).max() ?? .min
        refill(kept, slotCount: slots.count)
    }

    private func entries() -> [Occurrence] { (first..<end).compactMap { slots[$0 & mask] } }

    private mutating func refill(_ entries: [Occurrence], slotCount: Int) {
        slots = Array(repeating: nil, count: slotCount)
        index = Array(repeating: .free, count: 2 * slotCount)
        (first, end) = (0, 0)
        for entry in entries { append(entry) }
    }
}
