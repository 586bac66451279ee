// Rejoin: when this member's own request to join the group is under way. A pure value.

/// Holds commits back while they would do harm. Until the group answers this member's request to join, a commit queues
/// behind that request on the coordinator's connection, comes back as `ILLEGAL_GENERATION`, and makes librdkafka before
/// 2.10 drop the whole assignment as lost (`rd_kafka_cgrp_op_handle_OffsetCommit`).
///
/// Two signs tell of it: giving partitions up, after which a cooperative member gets the rest of its assignment and then
/// joins again (`rd_kafka_cgrp_incr_unassign_done`); and a commit refused with `REBALANCE_IN_PROGRESS`, after which the
/// next heartbeat makes this member join. The next assignment ends it. A rejoin without either sign remains possible: it
/// costs the assignment, and what was not committed is processed again.
struct Rejoin: Equatable {
    private enum Phase: Equatable {
        case settled
        /// Partitions were given up; the assignment that follows belongs to the same generation.
        case givenUp
        case joining(since: Int64)
    }

    /// A group that takes longer than this over a rebalance gets a commit to refuse.
    static let microsecondsMax: Int64 = 60_000_000

    private var phase = Phase.settled

    /// Whether commits must wait.
    func isUnderWay(now: Int64) -> Bool {
        guard case .joining(let since) = phase else { return false }
        return now - since < Self.microsecondsMax
    }

    /// A revocation arrived: the group has answered, and what is given up can be committed in its generation.
    mutating func revoking() { phase = .settled }

    /// A revocation was answered. A lost assignment leaves nothing to commit.
    mutating func revoked(isLost: Bool) { phase = isLost ? .settled : .givenUp }

    /// An assignment arrived.
    mutating func assigned(now: Int64) { phase = phase == .givenUp ? .joining(since: now) : .settled }

    /// A commit was refused because the group is rebalancing.
    mutating func refused(now: Int64) {
        guard !isUnderWay(now: now) else { return }
        phase = .joining(since: now)
    }
}
