// LeasedProcessor: the inference stage, as long as the model's lease is held.

import EventContracts
import InferenceStage
import SealedModels
import StageRuntime

/// Runs the inference stage behind the gate. A batch that comes when the lease is lost waits in hand; its partitions are
/// paused and nothing of it is committed.
struct LeasedProcessor: StageProcessor {
    var inner: InferenceProcessor
    let gate: LeaseGate

    var obstacle: String? { gate.reason }
    var rewind: Rewind? { inner.rewind }
    func makeOutput() -> OutputBatch { inner.makeOutput() }

    mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {
        try inner.rebuild(batch, context: context)
    }

    mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) throws {
        // Lost between the runner's question and here: nothing of the batch is committed, the process starts again.
        guard gate.enter() else { throw StageFailure(gate.reason ?? "the model's lease is lost") }
        defer { gate.leave() }
        try inner.process(batch, context: context, into: &output)
    }

    mutating func forget(_ partitions: [TopicPartition]) { inner.forget(partitions) }
}
