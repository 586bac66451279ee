// ChaosCommand: `penstock chaos` kills processes at random under load and lets the oracle judge what is left.

import ArgumentParser
import Foundation
import LocalDeployment
import PipelineContract

struct ChaosCommand: ParsableCommand {
    enum Victims: String, ExpressibleByArgument, CaseIterable { case all, consumers, broker, postgresql, everything }

    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract: "Kill consumers and the broker at random under load, then let the oracle judge.",
        discussion: """
            Starts a private stack in an emptied data directory, publishes valid, damaged and repeated events, and sends
            SIGKILL to a random consumer or to the broker, again and again while they flow; the supervisor starts what died
            anew. When everything has come to rest, penstock-oracle recomputes from the input log what every topic and
            PostgreSQL must hold. The seed chooses events, damage, victims and moments; the same seed publishes the same
            events and kills at the same ones. Exit 0: the oracle is content.

            Example: penstock chaos --kills 100 --events 100000
            Example: penstock chaos --kills 20 --events 5000 --seed 7 --profile latency
            Example: penstock chaos --kills 100 --bootstrap-servers kafka-1:9092
            """)

    @Option(help: "How many times a process is killed.")
    var kills = 100

    @Option(help: "Valid events; 60 damaged ones and 100 repeats come on top.")
    var events = 100_000

    @Option(help: "Events a second.")
    var rate = 500.0

    @Option(help: "Replays a run (default: random; it is printed).")
    var seed: UInt64?

    @Option(help: "Who is killed: all (consumers and broker), consumers, broker, postgresql, or everything.")
    var victims = Victims.all

    @Option(help: "Instances of each consumer.")
    var instances = 2

    @Option(help: "Delivery profile of the consumers: exact or latency.")
    var profile = "exact"

    @Option(
        help: ArgumentHelp(
            "Brokers of a cluster whose topics are made (penstock topics apply) and empty; they are not killed.",
            valueName: "host:port"))
    var bootstrapServers: String?

    @Option(help: ArgumentHelp("Pipeline with data/analysis.csv (default: topics/housing).", valueName: "path"))
    var pipeline: String?

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        guard kills >= 0, events > kills, rate > 0, rate.isFinite else {
            throw CommandFailure.usage("--kills: 0 or more, and fewer than --events; --rate: more than 0")
        }
        guard ["exact", "latency"].contains(profile) else {
            throw CommandFailure.usage("--profile: choose exact or latency")
        }
        guard (1...64).contains(instances) else { throw CommandFailure.usage("--instances: choose 1 to 64") }
        guard bootstrapServers == nil || victims != .broker else {
            throw CommandFailure.usage("--victims broker: the brokers of --bootstrap-servers are not ours to kill")
        }
        Interrupt.hold()
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let run = ChaosRun(
            contract: try PipelineLoader.load(path: path), pipelinePath: path,
            data: DataDirectory(path: data.path ?? "\(data.directory.path)/chaos"), kills: kills, events: events,
            rate: rate, seed: seed ?? UInt64.random(in: 0...UInt64.max), victims: victims, instances: instances,
            profile: profile, bootstrapServers: bootstrapServers)
        let report = try run.execute()
        if output.isJSON { try Console.print(json: report) } else { report.show() }
        guard report.isContent else {
            throw CommandFailure("the promise is broken; replay it with --seed \(report.seed) and the same options")
        }
    }
}

/// What a run did and what the oracle says.
struct ChaosReport: Encodable {
    var seed: UInt64
    var profile: String
    var kills: Int
    /// By process.
    var killed: [String: Int]
    var published: Int
    /// From the first publication to the last.
    var publishSeconds: Double
    /// From there until everything had come to rest.
    var settleSeconds: Double
    /// The oracle's report as text, and its exit code.
    var oracle: String
    var oracleExit: String

    var isContent: Bool { oracleExit == "exit code 0" }

    func show() {
        Console.heading("Chaos")
        let names = killed.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        Console.print(
            "seed \(seed), profile \(profile): \(Numbers.grouped(published)) records published in "
                + "\(Numbers.decimal(publishSeconds, 1)) s, \(kills) kills (\(names)), at rest "
                + "\(Numbers.decimal(settleSeconds, 1)) s later")
        Console.print(oracle)
    }
}
