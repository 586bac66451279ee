// ModelBenchCommand: `penstock model bench` measures a model at several batch sizes.

import ArgumentParser
import Foundation
import Inference
import Tensor

extension ModelCommand {
    struct Bench: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure a model at several batch sizes.",
            discussion: """
                Times single calls on rows that rotate, random ones or those of a file, and takes off the time of reading the
                clock. scripts/compare-onnxruntime.py sets the figures beside those of other engines.

                Example: penstock model bench topics/housing/artifacts/model.json --batch 1,32,256
                Example: penstock model bench fraud.onnx --rows rows.npy --threads 1 --output json
                """)

        @Argument(help: "Manifest or ONNX file of the model.")
        var model: String

        @Option(help: ArgumentHelp("Batch sizes.", valueName: "n,…"))
        var batch = SessionBenchmark.defaultBatchSizes.map { String($0) }.joined(separator: ",")

        @Option(help: "Threads that run the model at once.")
        var threads = 1

        @Option(help: "Seconds for each batch size.")
        var seconds = 1.0

        @Option(help: ArgumentHelp("Rows to rotate through; without it random ones.", valueName: "file.csv|.npy|.npz"))
        var rows: String?

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let sizes = batch.split(separator: ",").map { Int($0) ?? 0 }
            guard !sizes.isEmpty, sizes.allSatisfy({ $0 > 0 && $0 <= 65_536 }) else {
                throw CommandFailure.usage("--batch '\(batch)': numbers of 1 to 65536 separated by commas")
            }
            guard seconds > 0, seconds <= 600 else { throw CommandFailure.usage("--seconds: more than 0, at most 600") }
            guard threads > 0, threads <= 1_024 else { throw CommandFailure.usage("--threads: 1 to 1024") }
            let environment = ProcessInfo.processInfo.environment
            let notices = [
                VectorKernels.configure(environment: environment), BLAS.coreTypeNotice(environment: environment),
            ]
            for notice in notices.compactMap({ $0 }) { Console.note("warning: \(notice)") }
            let session = try ModelCommand.load(model)
            let result = SessionBenchmark.run(
                session, batchSizes: sizes, rows: try values(session), threads: threads, duration: .seconds(seconds))
            if output.isJSON { return try Console.print(json: result) }
            Console.print("kernels: \(result.vectorLevel), OpenBLAS \(result.coreType); threads: \(threads)")
            var table = Table(.right("batch"), .right("median µs"), .right("p99 µs"), .right("rows a second"))
            for row in result.results {
                table.add(
                    String(row.batch), Numbers.decimal(row.medianMicroseconds, 2),
                    Numbers.decimal(row.p99Microseconds, 2),
                    Numbers.grouped(Int(row.rowsPerSecond)))
            }
            Console.print(table.text)
        }

        private func values(_ session: InferenceSession) throws -> [Float]? {
            guard let rows else { return nil }
            guard session.inputs.count == 1 else {
                throw CommandFailure.usage("--rows: the model has \(session.inputs.count) inputs, one is needed")
            }
            let inputs = try ModelData.inputs(of: session, from: rows, features: session.manifest?.features)
            switch inputs[session.inputs[0].name]?.elements {
            case .floats(let values)?: return values
            case .doubles(let values)?: return values.map { Float($0) }
            case .integers(let values)?: return values.map { Float($0) }
            default: throw CommandFailure("\(rows): the model takes texts, which cannot rotate here")
            }
        }
    }
}
