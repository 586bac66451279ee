// LintCommand: `penstock lint`, explains every mistake in a pipeline's files.

public import ArgumentParser
import PipelineContract

/// `penstock lint PIPELINE`: exit 0 without errors, 1 with errors, 2 for wrong use.
public struct LintCommand: ParsableCommand {
    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    public static let configuration = CommandConfiguration(
        commandName: "lint", abstract: "Explain each mistake in pipeline.yaml and its schema.",
        discussion: """
            Every mistake is printed as `file:line:column: error: message` with the way to mend it. Warnings do not \
            change the exit status.

            Example:
              penstock lint topics/housing/pipeline.yaml
              penstock lint topics/housing --output json

            Exit status: 0 no errors, 1 errors, 2 wrong use.
            """)

    @Argument(help: "Path of pipeline.yaml, or of the folder that holds it.")
    var pipeline: String

    @Option(help: "Form of the result: text or json.")
    var output = Output.text

    public init() {}

    public func run() throws {
        let report = LintReport(path: pipeline)
        switch output {
        case .text: Console.print(report.text)
        case .json: Console.print(try report.json())
        }
        if report.exitStatus != 0 { throw ExitCode(report.exitStatus) }
    }
}
