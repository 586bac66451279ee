// ModelCommand: `penstock model` looks into a model, runs it on rows, measures it.

import ArgumentParser
import Foundation
import Inference
import Sealing

struct ModelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model",
        abstract: "Look into a model, run it on rows, measure it.",
        discussion: """
            MODEL is a manifest (model.json), which names the ONNX file beside it.

            Example: penstock model inspect topics/housing/artifacts/model.json
            Example: penstock model bench topics/housing/artifacts/model.json --batch 1,32,256
            """,
        subcommands: [
            Inspect.self, Run.self, Bench.self, Keygen.self, Seal.self, Verify.self, Register.self, Rewrap.self,
            Revoke.self, Hold.self, BenchUnseal.self,
        ])

    static func load(_ path: String) throws -> InferenceSession {
        let source = try UnsealedFileSource(manifestPath: path) { Console.note("warning: \($0)") }
        return try InferenceSession.load(source, contractHash: nil, rowsMax: 4_096)
    }

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print what a model takes, gives and consists of.",
            discussion: "Example: penstock model inspect topics/housing/artifacts/model.json --output json")

        @Argument(help: "Manifest of the model.")
        var model: String

        @OptionGroup var output: OutputOption

        private struct Result: Encodable {
            var manifest: ModelManifest?
            var description: ModelDescription
            var isSealed: Bool
        }

        mutating func run() throws {
            if SealedContainer.isSealed(model) {
                let container = try SealedContainer(inspecting: model)
                return try SealedSummary(
                    header: container.header, digest: container.headerDigest, path: model,
                    recipients: container.recipients
                ).show(output)
            }
            let session = try ModelCommand.load(model)
            let result = Result(
                manifest: session.manifest, description: session.describe(), isSealed: session.isSealed)
            if output.isJSON { return try Console.print(json: result) }
            if let manifest = result.manifest {
                Console.print("model     \(manifest.name) version \(manifest.version)")
                Console.print("contract  \(manifest.contract)")
                Console.print("features  \(manifest.features.joined(separator: ", "))")
                Console.print("sha256    \(manifest.onnxSHA256)")
                for (name, value) in manifest.metrics.sorted(by: { $0.key < $1.key }) {
                    Console.print("metric    \(name) \(Numbers.decimal(value, name.hasSuffix(".rows") ? 0 : 4))")
                }
            }
            Console.print(result.description.text)
        }
    }

    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run a model on rows of features.",
            discussion: """
                The CSV file has a column for each feature of the model, already transformed. Prints one score and label
                a row, in the file's order.

                Example: penstock model run topics/housing/artifacts/model.json rows.csv --output json
                """)

        @Argument(help: "Manifest of the model.")
        var model: String

        @Argument(help: "CSV file with the features.")
        var rows: String

        @OptionGroup var output: OutputOption

        private struct Row: Encodable {
            var score: Float
            var label: Int
        }

        mutating func run() throws {
            let session = try ModelCommand.load(model)
            guard let manifest = session.manifest else { throw CommandFailure("\(model) holds no manifest") }
            let csv = try CSV(path: rows)
            let columns = try manifest.features.map { feature throws(CommandFailure) in try csv.index(of: feature) }
            var values: [Float] = []
            values.reserveCapacity(csv.rows.count * columns.count)
            for (number, row) in csv.rows.enumerated() {
                for column in columns {
                    guard let value = Float(row[column]), value.isFinite else {
                        throw CommandFailure(
                            "\(rows), record \(number + 2), column \(csv.header[column]): '\(row[column])' is no finite number"
                        )
                    }
                    values.append(value)
                }
            }
            let scoring = Scoring(manifest.outputs, threshold: manifest.threshold)
            var results: [Row] = []
            var start = 0
            while start < csv.rows.count {
                let count = min(session.rowsMax, csv.rows.count - start)
                let slice = Array(values[(start * columns.count)..<((start + count) * columns.count)])
                scoring.forEach(session.run(slice, count: count)) { _, score, label in
                    results.append(Row(score: score, label: label))
                }
                start += count
            }
            if output.isJSON { return try Console.print(json: results) }
            var table = Table(.right("row"), .right("score"), .right("label"))
            for (number, row) in results.enumerated() {
                table.add(String(number + 1), "\(row.score)", String(row.label))
            }
            Console.print(table.text)
        }
    }

    struct Bench: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure a model at several batch sizes.",
            discussion: "Example: penstock model bench topics/housing/artifacts/model.json --batch 1,32,256")

        @Argument(help: "Manifest of the model.")
        var model: String

        @Option(help: ArgumentHelp("Batch sizes.", valueName: "n,…"))
        var batch = SessionBenchmark.defaultBatchSizes.map { String($0) }.joined(separator: ",")

        @Option(help: "Seconds for each batch size.")
        var seconds = 1.0

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let sizes = batch.split(separator: ",").map { Int($0) ?? 0 }
            guard !sizes.isEmpty, sizes.allSatisfy({ $0 > 0 }) else {
                throw CommandFailure.usage("--batch '\(batch)': positive numbers separated by commas")
            }
            guard seconds > 0, seconds <= 600 else { throw CommandFailure.usage("--seconds: more than 0, at most 600") }
            let session = try ModelCommand.load(model)
            guard let largest = sizes.max(), largest <= session.rowsMax else {
                throw CommandFailure.usage("--batch: at most \(session.rowsMax) rows")
            }
            let result = SessionBenchmark.run(session, batchSizes: sizes, duration: .seconds(seconds))
            if output.isJSON { return try Console.print(json: result) }
            Console.print("OpenBLAS kernels: \(result.coreType)")
            var table = Table(.right("batch"), .right("median µs"), .right("p99 µs"), .right("rows a second"))
            for row in result.results {
                table.add(
                    String(row.batch), Numbers.decimal(row.medianMicroseconds, 1),
                    Numbers.decimal(row.p99Microseconds, 1),
                    Numbers.grouped(Int(row.rowsPerSecond)))
            }
            Console.print(table.text)
        }
    }
}
