// TrainingJoin: features and labels of the topics, joined by event id.

public import EventContracts

/// Labelled rows in the order of event time.
public struct JoinedRows: Sendable {
    public var featureCount: Int
    /// Row-major, `count * featureCount` floats: the model's input.
    public var features: [Float] = []
    /// 0 or 1.
    public var labels: [UInt8] = []
    /// Microseconds since the Unix epoch.
    public var eventTimes: [Int64] = []

    public init(featureCount: Int) { self.featureCount = featureCount }

    public var count: Int { labels.count }
}

/// Joins the records of `<p>.labels` with those of `<p>.features`. Labels first, then features; each in any order and
/// with repeats. Of two labels for one event the later published one counts, of two features records of one event (a
/// repeat after a crash) the first.
///
/// Memory is bounded by `labelsMax` and `rowsMax`: beyond them the oldest events are left out.
public struct TrainingJoin {
    public struct Limits: Sendable {
        public var labelsMax = 500_000
        public var rowsMax = 200_000

        public init() {}
    }

    /// What could not be used.
    public struct Skipped: Sendable, Equatable {
        public var malformedLabels = 0
        public var malformedFeatures = 0
        /// Labels that are neither 0 nor 1.
        public var otherClasses = 0
        /// Labels known only after `until`.
        public var lateLabels = 0
    }

    private struct Row {
        var id: EventID
        var time: Int64
        var label: UInt8
        var values: [Float]
    }

    private let until: Int64
    private let limits: Limits
    private let decoder: FeatureRecordDecoder
    private var columns: FeatureColumns
    private var malformed: [MalformedRow] = []
    private var labels: [EventID: LabelRecord] = [:]
    private var rows: [Row] = []
    private var joined: Set<EventID> = []
    public private(set) var skipped = Skipped()

    /// - Parameters:
    ///   - contractHash: of the pipeline's fitted features; records of another contract are left out.
    ///   - until: watermark of the decision, microseconds: events and labels after it do not exist yet for this training,
    ///     so that it gives the same model whenever it is done.
    public init(featureCount: Int, contractHash: UInt64, until: Int64, limits: Limits = Limits()) {
        self.until = until
        self.limits = limits
        decoder = FeatureRecordDecoder(featureCount: featureCount, contractHash: contractHash)
        columns = decoder.makeColumns()
    }

    public mutating func takeLabel(_ value: [UInt8]) {
        let label: LabelRecord
        do {
            label = try LabelRecord(reading: value.span.bytes)
        } catch {
            skipped.malformedLabels += 1
            return
        }
        guard label.labelTime <= until else {
            skipped.lateLabels += 1
            return
        }
        if let known = labels[label.eventID], !label.corrects(known) { return }
        labels[label.eventID] = label
        if labels.count > limits.labelsMax + limits.labelsMax / 4 { dropOldestLabels() }
    }

    /// Takes a sealed batch of `<p>.features`.
    public mutating func takeFeatures(_ batch: RecordBatch) {
        columns.removeAll()
        malformed.removeAll(keepingCapacity: true)
        decoder.decode(batch, into: &columns, malformed: &malformed)
        skipped.malformedFeatures += malformed.count
        let width = columns.featureCount
        for row in 0..<columns.rowCount {
            let prefix = columns.prefixes[row]
            guard prefix.eventTime <= until, let label = labels[prefix.eventID] else { continue }
            guard label.label <= 1 else {
                skipped.otherClasses += 1
                continue
            }
            guard joined.insert(prefix.eventID).inserted else { continue }
            rows.append(
                Row(
                    id: prefix.eventID, time: prefix.eventTime, label: UInt8(label.label),
                    values: Array(columns.values[row * width..<(row + 1) * width])))
        }
        if rows.count > limits.rowsMax + limits.rowsMax / 4 { dropOldestRows() }
    }

    /// The newest `rowsMax` joined rows, in the order of (event time, event id): the same rows in the same order, however
    /// the partitions were read.
    public mutating func finish() -> JoinedRows {
        dropOldestRows()
        var result = JoinedRows(featureCount: columns.featureCount)
        for row in rows {
            result.features += row.values
            result.labels.append(row.label)
            result.eventTimes.append(row.time)
        }
        return result
    }

    private mutating func dropOldestRows() {
        rows.sort { ($0.time, $0.id) < ($1.time, $1.id) }
        rows.removeFirst(max(0, rows.count - limits.rowsMax))
    }

    private mutating func dropOldestLabels() {
        // Event ids sort by time.
        for id in labels.keys.sorted().prefix(labels.count - limits.labelsMax) { labels[id] = nil }
    }
}
