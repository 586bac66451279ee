// GroupMark: what the runtime writes beside the group's committed offset, so that the next owner of a partition knows
// how the previous one ended.

/// The state of a partition as text in the metadata of the group's offset commit (4 KiB at most by default; this takes
/// under 120 bytes). Words after the version are separated by one space:
/// ```
/// penstock/1 clean
/// penstock/1 dirty <reach>
/// penstock/1 suspect <until> <chunk> <attempts> <attempted|->
/// penstock/1 suspect <until> <chunk> <attempts> <attempted|-> trying <end> <records>
/// ```
/// Text of another version, or of another application, reads as nil: nothing is known, nothing is suspected.
enum GroupMark: Equatable, Sendable {
    /// Everything below the offset is done and nothing above was begun.
    case clean
    /// A process may have begun records up to `reach` (exclusive).
    case dirty(reach: Int64)
    /// A process died in this range; it is processed in small synchronous chunks.
    case suspect(Suspicion)

    static let prefix = "penstock/1"

    var text: String {
        switch self {
        case .clean: "\(Self.prefix) clean"
        case .dirty(let reach): "\(Self.prefix) dirty \(reach)"
        case .suspect(let suspicion):
            "\(Self.prefix) suspect \(suspicion.until) \(suspicion.chunkRecords) \(suspicion.attempts) "
                + (suspicion.attempted.map(String.init) ?? "-")
                + (suspicion.trying.map { " trying \($0.end) \($0.records)" } ?? "")
        }
    }

    init?(reading text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 2, words[0] == Self.prefix else { return nil }
        switch (words[1], words.count) {
        case ("clean", 2): self = .clean
        case ("dirty", 3):
            guard let reach = Int64(words[2]) else { return nil }
            self = .dirty(reach: reach)
        case ("suspect", 6), ("suspect", 9):
            guard let until = Int64(words[2]), let chunk = Int(words[3]), chunk > 0, let attempts = Int(words[4]),
                attempts >= 0
            else { return nil }
            var suspicion = Suspicion(until: until, chunkRecords: chunk)
            suspicion.attempts = attempts
            if words[5] != "-" {
                guard let attempted = Int64(words[5]) else { return nil }
                suspicion.attempted = attempted
            }
            if words.count == 9 {
                guard words[6] == "trying", let end = Int64(words[7]), let records = Int(words[8]), records > 0 else {
                    return nil
                }
                suspicion.trying = Suspicion.Trial(end: end, records: records)
            }
            self = .suspect(suspicion)
        default: return nil
        }
    }
}

/// A range in which a process died, and how far the search for the record that kills has come.
struct Suspicion: Equatable, Sendable {
    /// A chunk that is being processed right now: from the committed offset to `end` (exclusive).
    struct Trial: Equatable, Sendable {
        var end: Int64
        var records: Int
    }

    /// From the committed offset to here (exclusive).
    var until: Int64
    /// Records to process at once.
    var chunkRecords: Int
    /// How often the single record at `attempted` was begun alone.
    var attempts = 0
    var attempted: Int64?
    /// Set from just before a chunk is processed until it is durable: only a death in between is evidence.
    var trying: Trial?

    init(until: Int64, chunkRecords: Int) {
        self.until = until
        self.chunkRecords = chunkRecords
    }
}
