// Broker+Offsets: offsets by time, leader epochs, and the removal of records.

import EmbeddedLog

extension Broker {
    private static let latest: Int64 = -1
    private static let earliest: Int64 = -2
    private static let largestTimestamp: Int64 = -3
    /// A single node's leadership never changes.
    static let leaderEpoch: Int32 = 0

    func listOffsets(_ request: ListOffsetsRequest, _ context: RequestContext) -> ListOffsetsResponse {
        ListOffsetsResponse(
            topics: request.topics.map { topic in
                .init(
                    name: topic.name,
                    partitions: topic.partitions.map { wanted in
                        guard let log = partition(topic.name, wanted.index) else {
                            return .init(index: wanted.index, error: .unknownTopicOrPartition)
                        }
                        guard wanted.leaderEpoch <= Self.leaderEpoch else {
                            return .init(index: wanted.index, error: .unknownLeaderEpoch)
                        }
                        return Self.offset(wanted, in: log, isCommitted: request.isolation == 1)
                    })
            })
    }

    private static func offset(
        _ wanted: ListOffsetsRequest.Partition, in log: PartitionLog, isCommitted: Bool
    ) -> ListOffsetsResponse.Partition {
        var answer = ListOffsetsResponse.Partition(index: wanted.index, leaderEpoch: leaderEpoch)
        let end = isCommitted ? log.lastStableOffset : log.highWatermark
        do throws(LogError) {
            switch wanted.timestamp {
            case latest: answer.offset = end
            case earliest: answer.offset = log.logStartOffset
            case largestTimestamp:
                if let found = try log.offsetOfMaxTimestamp(), found.offset < end {
                    answer.offset = found.offset
                    answer.timestamp = found.timestamp
                }
            case ..<0: answer.error = .invalidRequest
            default:
                if let found = try log.offset(forTimestamp: wanted.timestamp), found.offset < end {
                    answer.offset = found.offset
                    answer.timestamp = found.timestamp
                }
            }
        } catch { answer.error = ProtocolError(error) }
        return answer
    }

    func offsetForLeaderEpoch(
        _ request: OffsetForLeaderEpochRequest, _ context: RequestContext
    ) -> OffsetForLeaderEpochResponse {
        OffsetForLeaderEpochResponse(
            topics: request.topics.map { topic in
                .init(
                    name: topic.name,
                    partitions: topic.partitions.map { wanted in
                        guard let log = partition(topic.name, wanted.index) else {
                            return .init(error: .unknownTopicOrPartition, index: wanted.index)
                        }
                        guard wanted.currentEpoch <= Self.leaderEpoch else {
                            return .init(error: .unknownLeaderEpoch, index: wanted.index)
                        }
                        guard wanted.epoch >= 0, wanted.epoch <= Self.leaderEpoch else {
                            return .init(index: wanted.index)
                        }
                        return .init(index: wanted.index, epoch: Self.leaderEpoch, endOffset: log.highWatermark)
                    })
            })
    }

    func deleteRecords(_ request: DeleteRecordsRequest, _ context: RequestContext) -> DeleteRecordsResponse {
        DeleteRecordsResponse(
            topics: request.topics.map { topic in
                .init(
                    name: topic.name,
                    partitions: topic.partitions.map { wanted in
                        guard let log = partition(topic.name, wanted.index) else {
                            return .init(index: wanted.index, error: .unknownTopicOrPartition)
                        }
                        guard !InternalLog.topics.contains(topic.name) else {
                            return .init(index: wanted.index, error: .invalidTopic)
                        }
                        do throws(LogError) {
                            return .init(
                                index: wanted.index, lowWatermark: try log.deleteRecords(before: wanted.offset))
                        } catch { return .init(index: wanted.index, error: ProtocolError(error)) }
                    })
            })
    }
}
