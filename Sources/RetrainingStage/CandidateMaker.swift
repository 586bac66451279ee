// CandidateMaker: one retraining request to one registration, or to the reason why there is none.

public import EventContracts
import Inference
public import ModelStore
public import PipelineContract
public import Registry
public import Retraining
import Training

/// Why a request ends without a candidate, or waits.
struct RequestRefused: Error, CustomStringConvertible {
    var reason: String
    var description: String { reason }
}

/// Trains, writes and describes candidates. Holds no state: the same request over the same rows gives the same candidate.
public struct CandidateMaker: Sendable {
    public static let actor = "retraining-consumer"
    /// Rows and repeats of the latency comparison.
    private static let latencyRows = 256
    private static let latencyRuns = 50

    let pipeline: Pipeline
    let featureNames: [String]
    let contractHash: UInt64
    let store: any ModelStore
    let settings: RetrainingSettings

    public init(
        pipeline: Pipeline, featureNames: [String], contractHash: UInt64, store: any ModelStore,
        settings: RetrainingSettings = RetrainingSettings()
    ) {
        self.pipeline = pipeline
        self.featureNames = featureNames
        self.contractHash = contractHash
        self.store = store
        self.settings = settings
    }

    /// - Parameters:
    ///   - rows: what is labelled up to the request's watermark.
    ///   - production: the version that serves; the candidate's parent.
    ///   - serial: for the new version.
    ///   - time: wall clock, RFC 3339.
    /// - Returns: a `registered` event, whose file is written; or `retraining_failed` with the reason.
    /// - Throws: when the model in production cannot be opened, or the candidate cannot be written: try again later.
    public func make(
        _ request: RetrainingRequest, rows: JoinedRows, production: ModelVersion, serial: UInt64, time: String
    ) throws -> ModelEvent {
        do {
            guard request.modelVersion == production.version else {
                throw RequestRefused(
                    reason:
                        "the request is about version \(request.modelVersion), \(production.version) is in production")
            }
            let base = try store.open(production.file, usage: .finetune)
            return try candidate(request, rows, production, base, serial, time)
        } catch let refused as RequestRefused {
            return Self.failure(request, reason: refused.reason, time: time)
        } catch let error as TrainingError where error.code != .fileAccess {
            return Self.failure(request, reason: error.message, time: time)
        }
    }

    /// The end of a request without a candidate.
    public static func failure(_ request: RetrainingRequest, reason: String, time: String) -> ModelEvent {
        ModelEvent(
            type: .retrainingFailed, id: "retraining_failed/\(request.id)", model: request.model,
            version: request.modelVersion, serial: 0, time: time, watermark: "\(request.trainUntil)",
            actor: Self.actor, reason: reason, request: request.id)
    }

    private func candidate(
        _ request: RetrainingRequest, _ rows: JoinedRows, _ production: ModelVersion, _ base: any ModelSource,
        _ serial: UInt64, _ time: String
    ) throws -> ModelEvent {
        let network = try base.withModelBytes { try DenseNetwork(onnx: $0, place: base.place) }
        let trained = try CandidateTrainer.train(
            rows, regimeStart: request.trainFrom?.microseconds, labelsMin: request.labelsMin, base: network,
            seed: Self.seed(of: request), threshold: pipeline.model.decisionThreshold, settings: settings)
        let onnx = ModelExport.onnx(
            trained.network, graphName: pipeline.model.name,
            metadata: [
                ("penstock.pipeline", pipeline.name), ("penstock.features", featureNames.joined(separator: ",")),
                ("penstock.parent", production.version), ("penstock.request", request.id),
            ])
        let manifest = self.manifest(trained, onnx: onnx, base: base.manifest, request: request)
        let parent = ModelEvent.Parent(
            version: production.version, serial: production.serial, sha256: production.file.sha256)
        let file = try store.save(
            NewModelVersion(manifest: manifest, onnx: onnx, serial: serial, parent: parent))
        return ModelEvent(
            type: .registered, id: "registered/\(request.id)", model: pipeline.model.name, version: manifest.version,
            serial: serial, time: time, watermark: "\(request.trainUntil)", actor: Self.actor, reason: request.reason,
            request: request.id, file: file, parent: parent, contract: manifest.contract,
            training: .init(
                algorithm: trained.algorithm, seed: trained.seed, rows: trained.trainingRows,
                from: RFC3339.text(trained.trainingTimes.lowerBound), to: RFC3339.text(trained.trainingTimes.upperBound)
            ),
            comparison: try comparison(trained, onnx: onnx, base: base, rows: rows))
    }

    private func manifest(
        _ trained: TrainedCandidate, onnx: [UInt8], base: ModelManifest, request: RetrainingRequest
    ) -> ModelManifest {
        let metrics = trained.candidate
        var values = [
            "test.rows": Double(metrics.rows), "test.log_loss": metrics.logLoss, "test.brier": metrics.brier,
            "test.accuracy": metrics.accuracy, "test.calibration_error": metrics.calibrationError,
        ]
        values["test.roc_auc"] = metrics.rocAUC
        return ModelManifest(
            name: pipeline.model.name, version: ModelExport.version(of: onnx), contract: contractHash,
            features: featureNames, onnx: base.onnx, onnxBytes: onnx, outputs: base.outputs,
            threshold: pipeline.model.decisionThreshold, metrics: values,
            training: .init(
                algorithm: trained.algorithm, seed: trained.seed, rows: trained.trainingRows,
                data: "request:\(request.id)"))
    }

    private func comparison(
        _ trained: TrainedCandidate, onnx: [UInt8], base: any ModelSource, rows: JoinedRows
    ) throws -> ModelEvent.Comparison {
        func side(_ metrics: ModelMetrics) -> ModelEvent.Comparison.Side {
            .init(rocAUC: metrics.rocAUC, logLoss: metrics.logLoss, accuracy: metrics.accuracy)
        }
        let candidate = try InferenceSession(onnx.span.bytes)
        let production = try InferenceSession.load(base, contractHash: contractHash)
        let times = microseconds(candidate, production, rows)
        return ModelEvent.Comparison(
            rows: trained.candidate.rows, from: RFC3339.text(trained.testTimes.lowerBound),
            to: RFC3339.text(trained.testTimes.upperBound), productionVersion: base.manifest.version,
            candidate: side(trained.candidate), production: side(trained.production),
            confidence: PairedComparison.confidence, rocAUC: trained.rocAUC, logLoss: trained.logLoss,
            candidateMicroseconds: times.candidate, productionMicroseconds: times.production,
            latencyRows: Self.latencyRows)
    }

    /// Shortest time of a batch. The two take turns, and the shortest of many counts, because other work on the machine
    /// only ever makes a run longer.
    private func microseconds(
        _ candidate: InferenceSession, _ production: InferenceSession, _ rows: JoinedRows
    ) -> (candidate: Double, production: Double) {
        let width = rows.featureCount
        let input = (0..<Self.latencyRows).flatMap { row in
            let start = row % rows.count * width
            return rows.features[start..<start + width]
        }
        var outputs = InferenceOutputs()
        let clock = ContinuousClock()
        var best = (candidate: Double.infinity, production: Double.infinity)
        func time(_ session: InferenceSession) -> Double {
            clock.measure { session.run(input.span, count: Self.latencyRows, into: &outputs) } / .microseconds(1)
        }
        for _ in 0..<Self.latencyRuns {
            best.candidate = min(best.candidate, time(candidate))
            best.production = min(best.production, time(production))
        }
        return best
    }

    /// From the request alone, so that doing it again gives the same network.
    static func seed(of request: RetrainingRequest) -> UInt64 {
        // FNV-1a, 64 bits.
        request.id.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}
