// DriftMonitor: features, predictions and labels in, reports of drift, quality and performance out.

public import Drift
public import EventContracts
public import MonitorRuntime
public import PipelineContract
public import StageRuntime

/// The logic of `drift-monitor`. All times are event time.
public struct DriftMonitor: MonitorLogic {
    /// Indices of the input topics.
    enum Input {
        static let features = 0
        static let predictions = 1
        static let labels = 2
    }

    public static let program = "drift-monitor"
    /// Predictions in a row of another version than the serving one after which that version counts as serving.
    static let switchPredictions = 50
    /// Model versions whose performance is kept.
    static let versionsMax = 8
    /// Values of a window that are kept for the Kolmogorov-Smirnov distance, over all features.
    static let windowValuesMax = 100_000
    /// Events without a label among them after which labels count as silent.
    static let labelSilenceRecords = 10_000
    /// Features that a report names.
    static let reportedFeaturesMax = 20

    public static func inputTopics(_ topics: PipelineTopics) -> [String] {
        [topics.features, topics.predictions, topics.labels]
    }

    let pipeline: Pipeline
    let names: [String]
    let contract: String
    let original: ReferenceProfile?
    /// Why the reference cannot be used, or nil.
    let referenceFault: String?
    let decoder: FeatureRecordDecoder
    var columns: FeatureColumns
    var predictionReader = PredictionReader()
    var join = LabelJoin()
    var memory: Memory
    var detector: DriftDetector?
    var tables: [ExpertTable] = []
    var outputs: [MonitorOutput] = []
    /// In the rebuild after a restart, until the snapshot's positions are reached.
    var isRebuilding = false

    /// What a snapshot holds.
    public struct Memory: Codable {
        var records = 0
        /// Model and version that serve, by the predictions.
        var model = ""
        var version = ""
        var otherVersion = ""
        var otherCount = 0
        /// Counts the references that were in use, from 0 for the one of `penstock fit`.
        var generation = 0
        var learnedReference: ReferenceProfile?
        /// Rows from which a new reference is made after a change of the model.
        var learning: Learning?
        var detector: DriftDetector.Snapshot?
        var drift = DriftSignal()
        var window: FeatureWindow?
        var windows = 0
        var lastComparisons: [FeatureWindow.Comparison] = []
        var quality = QualitySignal()
        var watermark = PartitionWatermark()
        var newestEvent: Int64?
        var marks = TimeMarks()
        var versions: [VersionPerformance] = []
        var nextVersion = 0
        var labelTimes: [Int64] = []
        var labelWatermark = PartitionWatermark()
        var recordsAtLabel = 0
        var coverage = CoverageSignal()
        var checkpoints: [Checkpoint] = []
        var saidReference = -1
        var malformed = 0
    }

    public struct Learning: Codable {
        var rows: [Float] = []
        var imputed: [UInt8] = []
        var outliers: [UInt8] = []
    }

    /// The model's drift as it stands.
    public struct DriftSignal: Codable {
        var level = MonitoringReport.Level.warmup
        var alarms = 0
        var episodes = 0
        var reports = 0
        var recordsSinceAlarm = 0
        var peak = 0.0
        var featureEvidence: [Double] = []
        var changeTime: Int64?
        var finder: FaultFinder?
        var faults: [Int] = []
        var labelsSinceChange = 0
        var labelsReported = 0
    }

    public struct QualitySignal: Codable, Equatable {
        var level = MonitoringReport.Level.warmup
        var reports = 0
    }

    public struct CoverageSignal: Codable, Equatable {
        var level = MonitoringReport.Level.warmup
        var joined = 0
        var expired = 0
        var everJoined = 0
        var last: Double?
        var reports = 0
    }

    /// Where the topics stood when the watermark stood there.
    struct Checkpoint: Codable {
        var watermark: Int64
        var positions: [String: Int64]
    }

    /// - Parameters:
    ///   - profile: the reference of `penstock fit`; nil, with the fault, when it cannot be used.
    ///   - names, contractHash: of the features that the topic holds.
    public init(
        pipeline: Pipeline, profile: ReferenceProfile?, fault: String?, names: [String], contractHash: UInt64
    ) {
        self.pipeline = pipeline
        self.names = names
        contract = Hexadecimal.text(contractHash)
        let isOther = profile.map { $0.contract != Hexadecimal.text(contractHash) || $0.features.map(\.name) != names }
        original = isOther == true ? nil : profile
        referenceFault =
            isOther == true
            ? "the reference profile belongs to another feature contract: run penstock fit again" : fault
        decoder = FeatureRecordDecoder(featureCount: names.count, contractHash: contractHash)
        columns = decoder.makeColumns()
        memory = Memory()
        useReference()
    }

    /// The reference in use.
    var reference: ReferenceProfile? { memory.generation == 0 ? original : memory.learnedReference }

    /// Makes the detector of the reference in use, from its beginning.
    mutating func useReference() {
        guard let reference else {
            detector = nil
            tables = []
            memory.drift.level = .warmup
            return
        }
        let settings = pipeline.monitors.drift
        let threshold = Self.threshold(settings.averageRunLength, rows: reference.rows)
        let detector = DriftDetector(reference, threshold: threshold, tolerance: settings.tolerance)
        self.detector = detector.isActive ? detector : nil
        tables = reference.features.map {
            ExpertTable($0.bins, power: $0.power, tolerance: settings.tolerance)
        }
        memory.window = FeatureWindow(featureCount: names.count)
        memory.lastComparisons = []
        memory.drift.level = detector.isActive ? .ok : .warmup
    }

    /// Bins that are estimated from few rows raise the rate of false alarms; the threshold rises with them (docs/drift.md).
    static func threshold(_ averageRunLength: Int, rows: Int) -> Double {
        let shortage = max(1, 10_000 / Double(max(1, rows)))
        return Double(averageRunLength) * shortage * shortage
    }

    // MARK: - MonitorLogic

    public var state: Memory {
        var memory = memory
        memory.detector = detector?.snapshot
        return memory
    }

    public mutating func restore(_ state: Memory) throws {
        memory = state
        let drift = memory.drift
        let window = memory.window
        let comparisons = memory.lastComparisons
        useReference()
        memory.drift = drift
        memory.window = window
        memory.lastComparisons = comparisons
        guard let snapshot = state.detector, var detector else { return }
        guard detector.restore(snapshot) else {
            throw ProfileError("the features of the snapshot are not those of the pipeline")
        }
        self.detector = detector
    }

    public var rebuildPositions: [TopicPartition: Int64] {
        guard let watermark = labelTime else { return [:] }
        let limit = watermark - pipeline.monitors.performance.labelHorizonMicroseconds
        // The newest checkpoint from before the horizon; else the oldest there is.
        guard let checkpoint = memory.checkpoints.last(where: { $0.watermark <= limit }) ?? memory.checkpoints.first
        else { return [:] }
        var positions: [TopicPartition: Int64] = [:]
        for (name, offset) in checkpoint.positions {
            guard let mark = name.lastIndex(of: "/"), let partition = Int32(name[name.index(after: mark)...]) else {
                continue
            }
            positions[TopicPartition(topic: String(name[..<mark]), partition: partition)] = offset
        }
        return positions
    }

    public mutating func willSnapshot(at positions: [TopicPartition: Int64]) {
        let step = pipeline.monitors.performance.labelHorizonMicroseconds / 16
        let time = memory.watermark.time ?? .min
        if let last = memory.checkpoints.last, last.watermark == .min || time - last.watermark < step { return }
        let joined = [pipeline.topics.predictions, pipeline.topics.labels]
        let own = positions.filter { joined.contains($0.key.topic) }
        memory.checkpoints.append(
            Checkpoint(
                watermark: time,
                positions: Dictionary(
                    uniqueKeysWithValues: own.map { ("\($0.key.topic)/\($0.key.partition)", $0.value) })
            ))
        if memory.checkpoints.count > 40 { memory.checkpoints.removeFirst() }
    }

    public mutating func takeOutputs() -> [MonitorOutput] {
        defer { outputs.removeAll(keepingCapacity: true) }
        return outputs
    }

    public mutating func take(_ batch: RecordBatch) throws {
        try takeFeatures(batch)
        try takePredictions(batch, isRebuilt: false)
        try takeLabels(batch, isRebuilt: false)
        try sayReference()
    }

    public mutating func rebuild(_ batch: RecordBatch) throws {
        try takePredictions(batch, isRebuilt: true)
        try takeLabels(batch, isRebuilt: true)
    }

    /// The time up to which labels have been read. A replay may read features far ahead of the labels: those that are
    /// still to come must not count as missing. Without any label among many events it is the features' time.
    var labelTime: Int64? {
        guard let time = memory.watermark.time else { return nil }
        if memory.records - memory.recordsAtLabel > Self.labelSilenceRecords { return time }
        return memory.labelWatermark.time.map { min($0, time) }
    }

    // MARK: - Reports

    var watermark: EventTime { EventTime(microseconds: memory.watermark.time ?? 0) }

    func report(
        _ kind: MonitoringReport.Kind, _ alert: String, _ level: MonitoringReport.Level, _ summary: String
    ) -> MonitoringReport {
        var report = MonitoringReport(
            pipeline: pipeline.name, kind: kind, alert: alert, labels: ["pipeline": pipeline.name], level: level,
            watermark: watermark, summary: summary)
        report.model = memory.model.isEmpty ? pipeline.model.name : memory.model
        report.modelVersion = memory.version.isEmpty ? nil : memory.version
        report.reference = reference.map { "\($0.identity)-\(memory.generation)" }
        report.labelCoverage = memory.coverage.last
        report.newestEvent = memory.newestEvent.map { EventTime(microseconds: $0) }
        return report
    }

    /// - Parameter sequence: the same when the report is made again after a restart.
    mutating func emit(_ report: MonitoringReport, sequence: String) throws {
        let event = report.event(program: Self.program, sequence: sequence)
        outputs.append(
            MonitorOutput(topic: pipeline.topics.monitoring, key: report.fingerprint, value: try event.encoded()))
    }

    /// Says once per reference whether it is fit for its purpose.
    private mutating func sayReference() throws {
        guard memory.saidReference != memory.generation, memory.watermark.time != nil, memory.learning == nil else {
            return
        }
        memory.saidReference = memory.generation
        let moving = reference?.movingFeatures ?? []
        let summary =
            reference == nil
            ? "there is no reference to compare with: \(referenceFault ?? "penstock fit writes it")"
            : moving.isEmpty
                ? "the reference of \(reference?.rows ?? 0) rows stands still"
                : "these features change within the reference and are not watched: \(moving.joined(separator: ", "))"
        let level: MonitoringReport.Level = reference == nil || !moving.isEmpty ? .firing : .ok
        try emit(
            report(.drift, AlertCatalogue.referenceUnusable, level, summary), sequence: "reference-\(memory.generation)"
        )
    }
}
