// PartitionCheckpoint: what a partition's recovery starts from.

/// The durable marks of a partition, in the file `checkpoint` of its directory.
struct PartitionCheckpoint: Sendable, Equatable {
    /// Records below are gone for good.
    var logStartOffset: Int64 = 0
    /// Base offset of the first segment that may not be wholly durable; all before it are not scanned again.
    var recoveryPoint: Int64 = 0
    /// Records below were compacted once.
    var compactedTo: Int64 = 0
    /// The log's end and the active segment's size at a clean shutdown.
    var cleanEndOffset: Int64?
    var cleanActiveSize: Int64?

    static let fileName = "checkpoint"

    func encode() -> [UInt8] {
        var values = [
            "log.start.offset": "\(logStartOffset)", "recovery.point": "\(recoveryPoint)",
            "compacted.to": "\(compactedTo)",
        ]
        if let cleanEndOffset { values["clean.end.offset"] = "\(cleanEndOffset)" }
        if let cleanActiveSize { values["clean.active.size"] = "\(cleanActiveSize)" }
        return Properties.encode(values)
    }

    init() {}

    /// Nil if the file is damaged.
    init?(_ bytes: [UInt8]) {
        guard let values = Properties.decode(bytes), let start = values["log.start.offset"].flatMap({ Int64($0) }),
            let point = values["recovery.point"].flatMap({ Int64($0) }),
            let compacted = values["compacted.to"].flatMap({ Int64($0) })
        else { return nil }
        logStartOffset = start
        recoveryPoint = point
        compactedTo = compacted
        cleanEndOffset = values["clean.end.offset"].flatMap { Int64($0) }
        cleanActiveSize = values["clean.active.size"].flatMap { Int64($0) }
    }
}
