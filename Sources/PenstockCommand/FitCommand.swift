// FitCommand: `penstock fit`, fits the transforms of a pipeline on reference data.

public import ArgumentParser
import Foundation
import PipelineContract
import Transforms

/// `penstock fit PIPELINE`: reference rows in, transform.json out.
public struct FitCommand: ParsableCommand {
    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    public static let configuration = CommandConfiguration(
        commandName: "fit", abstract: "Fit the feature transforms on reference data.",
        discussion: """
            Reads reference rows (CSV with a header; an empty cell is a missing value), fits what pipeline.yaml declares \
            under `features` and writes transform.json with the feature contract hash. The rows must be of the time \
            before the events that will be scored. After a new fit the model must be trained again.

            Example:
              penstock fit topics/housing
              penstock fit topics/housing --reference data/2021.csv --output json
            """)

    @Argument(help: "Path of pipeline.yaml, or of the folder that holds it.")
    var pipeline: String

    @Option(help: ArgumentHelp("Reference rows (default: data/reference.csv beside pipeline.yaml).", valueName: "csv"))
    var reference: String?

    @Option(
        help: ArgumentHelp(
            "Folder for transform.json (default: PENSTOCK_ARTIFACTS, else as pipeline.yaml says).", valueName: "folder")
    )
    var artifacts: String?

    @Option(help: "Form of the result: text or json.")
    var output = Output.text

    public init() {}

    public func run() throws {
        let pipeline = try PipelineLoader.load(path: pipeline)
        let table = try ReferenceTable(
            path: try Self.referencePath(reference, of: pipeline), schema: pipeline.input.schema,
            features: pipeline.features)
        let fit = try TransformFitter.fit(table, for: pipeline)
        let path = Self.artifact(pipeline.features.transformPath, override: artifacts)
        try fit.transform.save(to: path)
        for warning in fit.warnings { FileHandle.standardError.write(Data("warning: \(warning)\n".utf8)) }
        switch output {
        case .text: Console.print(Self.text(fit.transform, path: path))
        case .json: Console.write(String(decoding: try fit.transform.encoded(), as: UTF8.self), to: 1)
        }
    }

    /// The reference rows of a pipeline.
    static func referencePath(_ option: String?, of pipeline: Pipeline) throws -> String {
        let path = option ?? "\(pipeline.directory)/data/reference.csv"
        guard FileManager.default.isReadableFile(atPath: path) else {
            throw TransformError(.fileAccess, "cannot read the reference rows \(path): name a CSV file by --reference")
        }
        return path
    }

    /// The path of an artefact, in the folder that the option or PENSTOCK_ARTIFACTS names.
    static func artifact(_ path: String, override: String?) -> String {
        let variable = ProcessInfo.processInfo.environment["PENSTOCK_ARTIFACTS"]
        guard let folder = override ?? variable, !folder.isEmpty else { return path }
        return "\(folder)/\(AtomicFile.name(of: path))"
    }

    private static func text(_ transform: FittedTransform, path: String) -> String {
        let head = ["feature", "impute", "outliers", "bounds", "scale", "offset", "divisor", "missing"]
        let rows = transform.features.map { feature in
            let bounds = feature.outliers.lower.flatMap { lower in
                feature.outliers.upper.map { "\(short(lower)) ... \(short($0))" }
            }
            return [
                feature.name,
                "\(feature.impute.strategy.rawValue)\(feature.impute.value.map { " \(short($0))" } ?? "")",
                feature.outliers.policy.rawValue, bounds ?? "-", feature.scale.kind.rawValue,
                short(feature.scale.offset), short(feature.scale.divisor), "\(feature.reference.missing)",
            ]
        }
        return """
            \(aligned([head] + rows))

            \(transform.features.count) features fitted on \(transform.reference.rows) rows
            contract  \(transform.contract)
            written   \(path)
            """
    }

    private static func short(_ value: Double) -> String { String(format: "%.4g", value) }

    /// Columns of text, aligned by their widest cell.
    static func aligned(_ rows: [[String]]) -> String {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}
