// Penstock: the root of the command line.

public import ArgumentParser
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import StageRuntime

/// `penstock`.
public struct Penstock: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "penstock",
        abstract: "Streaming inference on Kafka: events go in, predictions come out.",
        discussion: """
            Examples to start with:
              penstock demo                    the whole pipeline on real data, checked
              penstock up                      broker, PostgreSQL, all consumers, here
              penstock publish PIPELINE FILE   send events from a CSV or NDJSON file
              penstock tail predictions        watch what comes out
              penstock status                  health, lag, rows, dead letters

            A pipeline is a folder with a pipeline.yaml, for instance topics/housing.
            """,
        groupedSubcommands: groups)

    static let groups: [CommandGroup] = [
        CommandGroup(
            name: "Run",
            subcommands: [
                DemoCommand.self, UpCommand.self, DownCommand.self, StatusCommand.self, DoctorCommand.self,
            ]),
        CommandGroup(
            name: "Publish and watch",
            subcommands: [
                PublishCommand.self, TailCommand.self, LagCommand.self, DeadLettersCommand.self, BenchCommand.self,
                ChaosCommand.self,
            ]),
        CommandGroup(
            name: "Pipelines and models",
            subcommands: [
                LintCommand.self, FitCommand.self, TrainCommand.self, ModelCommand.self, ModelsCommand.self,
                TopicsCommand.self,
                OffsetsCommand.self, SlotsCommand.self,
                ServePostgresCommand.self,
            ]),
    ]

    public init() {}

    public mutating func run() throws {
        throw CleanExit.helpRequest(self)
    }

    /// Runs the command line and ends the process: 0 done, 1 failed, 2 used wrongly. A failure is one line on standard
    /// error.
    public static func runAndExit() -> Never {
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            try command.run()
            Foundation.exit(0)
        } catch {
            Foundation.exit(report(error))
        }
    }

    private static func report(_ error: any Error) -> Int32 {
        switch error {
        case let failure as CommandFailure: return report(failure.message, code: failure.kind.rawValue)
        case let failure as DeploymentError:
            return report(failure.message, code: 1)
        case let failure as StageFailure: return report(failure.message, code: failure.exitCode)
        case let failure as KafkaError:
            return report(explain(failure), code: failure.code == .invalidConfiguration ? 2 : 1)
        case let failure as PipelineError: return report(failure.summary, code: 1)
        case let failure as PostgresError: return report("\(failure)", code: 1)
        case let failure as PrivatePostgresError: return report(failure.message, code: 1)
        default: break
        }
        let code = exitCode(for: error)
        let message = fullMessage(for: error)
        if code.isSuccess {
            if !message.isEmpty { Console.print(message) }
            return 0
        }
        if error is ExitCode { return code.rawValue }
        return report(message, code: code == .validationFailure ? 2 : 1, hasPrefix: true)
    }

    private static func report(_ message: String, code: Int32, hasPrefix: Bool = false) -> Int32 {
        let label = Console.styled("error:", .bold, .red, isTerminal: Console.isErrorTerminal)
        Console.note(hasPrefix ? message : "\(label) \(message)")
        return code
    }

    private static func explain(_ error: KafkaError) -> String {
        switch error.code {
        case .brokerUnavailable, .timedOut:
            "\(error): check that the broker runs (penstock status) and --bootstrap-servers"
        case .authentication, .authorization: "\(error): check the security settings (--set kafka.security.protocol=…)"
        case .unknownTopicOrPartition: "\(error): create the topics with 'penstock topics apply PIPELINE'"
        default: "\(error)"
        }
    }
}
