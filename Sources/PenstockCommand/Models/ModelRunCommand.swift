// ModelRunCommand: `penstock model run` runs a model on the rows of a file.

import ArgumentParser
import Foundation
import Inference

extension ModelCommand {
    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run a model on rows of features.",
            discussion: """
                ROWS is a CSV file with a column for each feature of the model, already transformed, or a NumPy file: one
                array [rows, features] (.npy), or one for each input of the model by name (.npz). Prints a score and label
                a row, or writes all outputs of the model to a file of any of these kinds.

                Example: penstock model run topics/housing/artifacts/model.json rows.csv --output json
                Example: penstock model run fraud.onnx rows.npy --to scores.npz
                """)

        @Argument(help: "Manifest or ONNX file of the model.")
        var model: String

        @Argument(help: "CSV, .npy or .npz file with the features.")
        var rows: String

        @Option(help: ArgumentHelp("Write the model's outputs there.", valueName: "file.csv|.npy|.npz"))
        var to: String?

        @OptionGroup var output: OutputOption

        private struct Row: Encodable {
            var score: Float
            var label: Int
        }

        private struct Written: Encodable {
            struct Output: Encodable {
                var name: String
                var type: String
                var shape: [Int]
            }

            var file: String
            var outputs: [Output]
        }

        mutating func run() throws {
            let session = try ModelCommand.load(model)
            let inputs = try ModelData.inputs(of: session, from: rows, features: session.manifest?.features)
            guard let to else {
                guard let manifest = session.manifest else {
                    throw CommandFailure.usage(
                        "an ONNX file has no manifest that says what its score is: give --to FILE")
                }
                return try score(session, manifest, inputs)
            }
            let results = try session.run(inputs)
            try ModelData.write(results, to: to)
            let written = Written(
                file: to,
                outputs: results.map { .init(name: $0.name, type: "\($0.value.type)", shape: $0.value.shape) })
            if output.isJSON { return try Console.print(json: written) }
            for result in written.outputs { Console.print("\(result.name): \(result.type) \(result.shape) in \(to)") }
        }

        private func score(
            _ session: InferenceSession, _ manifest: ModelManifest, _ inputs: [String: TensorValue]
        ) throws {
            guard session.inputs.count == 1, case .floats(let values)? = inputs[session.inputs[0].name]?.elements else {
                throw CommandFailure.usage("scores need a model with one input of floats: give --to FILE")
            }
            if let index = values.firstIndex(where: { !$0.isFinite }) {
                let column = index % session.inputWidth
                let name = column < manifest.features.count ? manifest.features[column] : "\(column + 1)"
                throw CommandFailure("\(rows), row \(index / session.inputWidth + 1), column \(name): no finite number")
            }
            var results: [Row] = []
            let outputs = session.run(values, count: values.count / max(session.inputWidth, 1))
            Scoring(manifest.outputs, threshold: manifest.threshold).forEach(outputs) { _, score, label in
                results.append(Row(score: score, label: label))
            }
            if output.isJSON { return try Console.print(json: results) }
            var table = Table(.right("row"), .right("score"), .right("label"))
            for (number, row) in results.enumerated() {
                table.add(String(number + 1), "\(row.score)", String(row.label))
            }
            Console.print(table.text)
        }
    }
}
