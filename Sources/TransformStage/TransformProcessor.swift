// TransformProcessor: `events` in, `features` out.

public import EventContracts
public import PipelineContract
public import StageRuntime
public import Transforms

/// The logic of `transform-consumer`: decodes a micro-batch of `events` into columns, applies the fitted transform and
/// writes one `features` record per row. Output 0 is `<p>.features`.
///
/// A record that is no valid `events` record of this schema, lacks a value that must not be missing, or holds a rejected
/// outlier becomes a dead letter. It keeps no state between batches but its buffers.
public struct TransformProcessor: StageProcessor {
    public typealias Output = OutputBatch

    private let transform: FeatureTransform
    private let decoder: EventRecordDecoder
    private let encoder: FeatureRecordEncoder
    private var events: EventColumns
    private var features: FeatureColumns
    private var malformed: [MalformedRow] = []
    private var rejections: [FeatureRejection] = []

    /// - Parameter transform: bound to this schema.
    public init(schema: EventSchema, transform: FeatureTransform) {
        self.transform = transform
        decoder = EventRecordDecoder(
            numericCount: schema.numericFields.count, textCount: schema.textFields.count,
            contractHash: schema.contractHash)
        encoder = FeatureRecordEncoder(featureCount: transform.featureCount)
        events = decoder.makeColumns()
        features = transform.makeColumns()
    }

    /// Loads transform.json of the pipeline and checks it.
    /// - Parameter transformPath: nil takes the pipeline's own path.
    public init(pipeline: Pipeline, transformPath: String? = nil) throws(TransformError) {
        self.init(
            schema: pipeline.input.schema,
            transform: try FeatureTransform(loadingFor: pipeline, path: transformPath))
    }

    public mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) {
        events.removeAll()
        features.removeAll()
        malformed.removeAll(keepingCapacity: true)
        rejections.removeAll(keepingCapacity: true)
        decoder.decode(batch, into: &events, malformed: &malformed)
        transform.apply(events, into: &features, rejections: &rejections)
        for row in malformed { output.deadLetter(source: row.source, row.error.code, row.error.message) }
        for rejection in rejections {
            output.deadLetter(
                source: events.sources[rejection.row], transform.code(of: rejection), transform.message(for: rejection))
        }
        for row in 0..<features.rowCount { emit(row, of: batch, context: context, into: &output) }
    }

    /// The prefix travels on; only kind, stage time and contract change.
    private func emit(_ row: Int, of batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) {
        var prefix = features.prefixes[row]
        prefix.kind = .features
        prefix.stageTime = context.nowMicroseconds
        prefix.contractHash = transform.contractHash
        let identity = features.identities[row]
        let bytes = batch.arena.span.bytes
        let range = row * encoder.featureCount..<(row + 1) * encoder.featureCount
        output.emit(source: features.sources[row]) { record in
            encoder.append(
                prefix: prefix, source: bytes.extracting(identity.source.range),
                id: bytes.extracting(identity.id.range),
                values: features.values.span.extracting(range), imputed: features.imputed.span.extracting(range),
                outliers: features.outliers.span.extracting(range), to: &record)
        }
    }
}

extension RecordBatch.Slice {
    /// Its place in the arena; empty for null.
    fileprivate var range: Range<Int> { isNull ? 0..<0 : start..<start + length }
}
