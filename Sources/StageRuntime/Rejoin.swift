// Rejoin: when this member's own request to join the group is under way. A pure value.

/// After giving partitions up, a cooperative member gets the rest of its assignment and then joins the group again. Until
/// the group's answer a commit would queue behind that request on the coordinator's connection, come back as
/// `ILLEGAL_GENERATION`, and make librdkafka 2.0.2 drop the whole assignment as lost. So none is sent meanwhile.
///
/// Nothing tells of a rejoin that another member caused: a commit that falls into one costs the assignment, and what was
/// not committed is processed again. (librdkafka: `rd_kafka_cgrp_incr_unassign_done`,
/// `rd_kafka_cgrp_op_handle_OffsetCommit`.)
struct Rejoin: Equatable {
    private enum Phase {
        case settled
        /// Partitions were given up; the assignment that follows belongs to the same generation.
        case givenUp
        case joining
    }

    private var phase = Phase.settled

    /// Whether commits must wait.
    var isUnderWay: Bool { phase == .joining }

    /// A revocation was answered. A lost assignment leaves nothing to commit.
    mutating func revoked(isLost: Bool) { phase = isLost ? .settled : .givenUp }

    /// An assignment arrived.
    mutating func assigned() { phase = phase == .givenUp ? .joining : .settled }
}
