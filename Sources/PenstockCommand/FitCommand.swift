// FitCommand: `penstock fit`, fits the transforms of a pipeline on reference data.

public import ArgumentParser
import Drift
import EventContracts
import Foundation
import PipelineContract
import Transforms

/// `penstock fit PIPELINE`: reference rows in, transform.json and reference.json out.
public struct FitCommand: ParsableCommand {
    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    public static let configuration = CommandConfiguration(
        commandName: "fit", abstract: "Fit the feature transforms on reference data.",
        discussion: """
            Reads reference rows (CSV with a header; an empty cell is a missing value), fits what pipeline.yaml declares \
            under `features` and writes transform.json with the feature contract hash. The rows must be of the time \
            before the events that will be scored, in the order of time. After a new fit the model must be trained again.

            The same rows, transformed, become reference.json: what the drift monitor compares the stream with. A feature
            that changes within the reference itself is named by a warning and not watched; fewer rows than
            `monitors.drift.referenceRecords` give no profile.

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
        let profile = try Self.profile(of: table, fit.transform, pipeline, override: artifacts)
        for warning in fit.warnings + profile.warnings {
            FileHandle.standardError.write(Data("warning: \(warning)\n".utf8))
        }
        switch output {
        case .text: Console.print(Self.text(fit.transform, path: path) + profile.text)
        case .json: Console.write(String(decoding: try fit.transform.encoded(), as: UTF8.self), to: 1)
        }
    }

    /// Writes the reference profile of the drift monitor.
    /// - Returns: lines for a person, and what they should know about it.
    private static func profile(
        of table: ReferenceTable, _ fitted: FittedTransform, _ pipeline: Pipeline, override: String?
    ) throws -> (text: String, warnings: [String]) {
        let transform = try FeatureTransform(fitted, schema: pipeline.input.schema)
        var columns = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &columns, rejections: &rejections)
        let names = fitted.features.map(\.name)
        var builder = ProfileBuilder(names: names)
        for row in 0..<columns.rowCount {
            let range = row * names.count..<(row + 1) * names.count
            builder.add(
                columns.values.span.extracting(range), imputed: columns.imputed.span.extracting(range),
                outlying: columns.outliers.span.extracting(range))
        }
        let path = artifact(pipeline.monitors.drift.referencePath, override: override)
        let profile: ReferenceProfile
        do {
            profile = try builder.profile(
                pipeline: pipeline.name, contract: fitted.contract,
                rowsMin: pipeline.monitors.drift.referenceRecordsMin)
        } catch {
            // Training and inference do not need it; an old one of another transform must not stay.
            try? FileManager.default.removeItem(atPath: path)
            return ("", ["no reference profile was written: \(error)"])
        }
        try profile.encoded().write(to: URL(filePath: path), options: .atomic)
        let moving = profile.features.filter { !$0.isStationary }.map {
            "feature '\($0.name)' changes within the reference (p = \(short($0.changePValue)), "
                + "\(short($0.power)) of the rows count as independent): the drift monitor does not watch it"
        }
        return ("\nprofile   \(path)", moving)
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
