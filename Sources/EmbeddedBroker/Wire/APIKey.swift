// APIKey: the requests this broker knows, with their versions.

/// A request of the protocol. Its place for more (SASL, ACLs, quotas) is a new case with its versions.
public enum APIKey: Int16, CaseIterable, Sendable {
    case produce = 0
    case fetch = 1
    case listOffsets = 2
    case metadata = 3
    case offsetCommit = 8
    case offsetFetch = 9
    case findCoordinator = 10
    case joinGroup = 11
    case heartbeat = 12
    case leaveGroup = 13
    case syncGroup = 14
    case describeGroups = 15
    case listGroups = 16
    case apiVersions = 18
    case createTopics = 19
    case deleteTopics = 20
    case deleteRecords = 21
    case initProducerID = 22
    case offsetForLeaderEpoch = 23
    case addPartitionsToTransaction = 24
    case addOffsetsToTransaction = 25
    case endTransaction = 26
    case transactionOffsetCommit = 28
    case describeConfigs = 32
    case alterConfigs = 33
    case createPartitions = 37
    case deleteGroups = 42
    case incrementalAlterConfigs = 44
    case offsetDelete = 47
    case describeCluster = 60

    /// The versions it answers.
    public var versions: ClosedRange<Int16> { definition.versions }

    /// The versions it names in ApiVersions. librdkafka looks for Produce 2 before it uses headers and timestamps,
    /// though it then sends a newer version; Kafka 4 keeps up the same appearance.
    public var advertisedVersions: ClosedRange<Int16> {
        switch self {
        case .produce: 0...definition.versions.upperBound
        case .fetch: 0...definition.versions.upperBound
        default: definition.versions
        }
    }

    func isFlexible(_ version: Int16) -> Bool { version >= definition.flexibleFrom }

    private var definition: (versions: ClosedRange<Int16>, flexibleFrom: Int16) {
        switch self {
        case .produce: (3...10, 9)
        case .fetch: (4...16, 12)
        case .listOffsets: (1...7, 6)
        case .metadata: (0...12, 9)
        case .offsetCommit: (2...9, 8)
        case .offsetFetch: (1...9, 6)
        case .findCoordinator: (0...4, 3)
        case .joinGroup: (0...9, 6)
        case .heartbeat: (0...4, 4)
        case .leaveGroup: (0...5, 4)
        case .syncGroup: (0...5, 4)
        case .describeGroups: (0...5, 5)
        case .listGroups: (0...4, 3)
        case .apiVersions: (0...4, 3)
        case .createTopics: (2...7, 5)
        case .deleteTopics: (1...6, 4)
        case .deleteRecords: (0...2, 2)
        case .initProducerID: (0...4, 2)
        case .offsetForLeaderEpoch: (2...4, 4)
        case .addPartitionsToTransaction: (0...3, 3)
        case .addOffsetsToTransaction: (0...3, 3)
        case .endTransaction: (0...3, 3)
        case .transactionOffsetCommit: (0...3, 3)
        case .describeConfigs: (1...4, 4)
        case .alterConfigs: (0...2, 2)
        case .createPartitions: (0...3, 2)
        case .deleteGroups: (0...2, 2)
        case .incrementalAlterConfigs: (0...1, 1)
        case .offsetDelete: (0...0, .max)
        case .describeCluster: (0...1, 0)
        }
    }
}
