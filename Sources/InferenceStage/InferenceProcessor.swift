// InferenceProcessor: features in, predictions out.

public import EventContracts
import Inference
public import Observability
public import StageRuntime

/// Decodes `features` records, runs the model on the whole micro-batch and writes one prediction per record, in input
/// order, under the input record's key. Output topic 0 is `predictions`.
///
/// A record of another feature contract, a malformed one and one whose score is not finite become dead letters.
public struct InferenceProcessor: StageProcessor {
    /// Serves the batches; offer it a successor between two of them.
    public var models: ModelSlot
    /// Where another thread puts a successor.
    public let mailbox: ModelMailbox
    private let decoder: FeatureRecordDecoder
    private let computeSeconds: Histogram?
    private var columns: FeatureColumns
    private var malformed: [MalformedRow] = []
    private var outputs = InferenceOutputs()
    private let clock = ContinuousClock()

    /// - Parameters:
    ///   - model: loaded for `contractHash`; its input width is the number of features.
    ///   - contractHash: of the pipeline's fitted features.
    ///   - computeSeconds: `MetricNames.inferenceComputeSeconds`: gets the time the model took for each batch, decoding
    ///     and writing excluded.
    public init(model: LoadedModel, contractHash: UInt64, computeSeconds: Histogram? = nil) {
        models = ModelSlot(model)
        mailbox = ModelMailbox(current: model.manifest.version)
        decoder = FeatureRecordDecoder(featureCount: model.session.inputWidth, contractHash: contractHash)
        columns = decoder.makeColumns()
        self.computeSeconds = computeSeconds
    }

    public mutating func process(
        _ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch
    ) throws {
        models.advance()
        mailbox.advance(&models)
        let model = models.current
        columns.removeAll()
        malformed.removeAll(keepingCapacity: true)
        decoder.decode(batch, into: &columns, malformed: &malformed)
        for row in malformed { output.deadLetter(source: row.source, row.error.code, row.error.message) }
        guard columns.rowCount > 0 else { return }
        // Taken out of the processor while it is at work, and put back to keep its memory: a closure that reaches into
        // `self` would copy the whole of it for each record.
        var outputs = InferenceOutputs()
        swap(&outputs, &self.outputs)
        defer { swap(&outputs, &self.outputs) }
        let columns = columns
        let start = clock.now
        model.session.run(columns.values.span, count: columns.rowCount, into: &outputs)
        computeSeconds?.observe(clock.now - start)
        model.scoring.forEach(outputs) { row, score, label in
            guard score.isFinite else {
                output.deadLetter(
                    source: columns.sources[row], .nonFinitePrediction,
                    "model \(model.manifest.name) \(model.manifest.version) gave a score that is "
                        + (score.isNaN ? "not a number" : "infinite")
                        + " for this row: look at its features for extreme values")
                return
            }
            Self.write(columns, row, score: score, label: label, by: model, batch, context, into: &output)
        }
    }

    private static func write(
        _ columns: borrowing FeatureColumns, _ row: Int, score: Float, label: Int, by model: LoadedModel,
        _ batch: RecordBatch, _ context: ProcessingContext, into output: inout OutputBatch
    ) {
        let source = columns.sources[row]
        let identity = columns.identities[row]
        let prefix = columns.prefixes[row]
        let width = columns.featureCount
        let prediction = Prediction(
            score: score, label: label, imputed: count(columns.imputed, row, width),
            outliers: count(columns.outliers, row, width))
        output.emit(source: source) { bytes in
            batch.withBytes(batch.keys[source]) { (key: RawSpan?) in
                batch.withBytes(identity.source) { (publisher: RawSpan?) in
                    batch.withBytes(identity.id) { (id: RawSpan?) in
                        guard let publisher, let id else {
                            preconditionFailure("the decoder gives an identity of two texts, empty when there is none")
                        }
                        model.writer.append(
                            prediction, prefix: prefix, source: publisher, id: id, entity: key,
                            predictedAt: context.nowMicroseconds, to: &bytes)
                    }
                }
            }
        }
    }

    private static func count(_ flags: [UInt8], _ row: Int, _ width: Int) -> Int {
        var total = 0
        for index in row * width..<(row + 1) * width { total += Int(flags[index]) }
        return total
    }
}
