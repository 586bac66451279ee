// PublishCommand: `penstock publish` sends events from a file to a pipeline's input topic.

import ArgumentParser
import EventContracts
import Kafka
import PipelineContract

struct PublishCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish",
        abstract: "Send events from a CSV or NDJSON file to a pipeline's input topic.",
        discussion: """
            CSV columns are matched with the fields of the event schema by name; an empty cell is null. NDJSON lines go
            as they are. The event's id and time come from the fields that pipeline.yaml names.

            Example: penstock publish topics/housing topics/housing/data/analysis.csv --rate 500 \\
                       --format mixed --key-template '{Latitude}:{Longitude}'
            """)

    @Argument(help: "Pipeline: its folder or its pipeline.yaml.")
    var pipeline: String

    @Argument(help: "File that ends in .csv or .ndjson.")
    var file: String

    @Option(help: "Events per second; 0 sends as fast as it goes.")
    var rate: Double = 0

    @Option(help: "json, cloudevents-binary, cloudevents-structured or mixed (all three in turn).")
    var format: WireFormat = .json

    @Option(
        help: ArgumentHelp(
            "Record key, made from fields (default: the field with the event's id).", valueName: "template"))
    var keyTemplate: String?

    @Option(help: "CloudEvents source; default /<pipeline>/published.")
    var source: String?

    @Option(help: "Send only the first N events.")
    var limit: Int?

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOption

    private struct Result: Encodable {
        var topic: String
        var published: Int
        var seconds: Double
        var eventsPerSecond: Double
    }

    mutating func run() throws {
        guard rate >= 0, rate.isFinite else { throw CommandFailure.usage("--rate: 0 or more events per second") }
        let contract = try PipelineLoader.load(path: pipeline)
        let template =
            try keyTemplate.map { text throws(CommandFailure) in try KeyTemplate(text) }
            ?? contract.input.identity.map { identity throws(CommandFailure) in try KeyTemplate("{\(identity.idField)}")
            }
        if template == nil, contract.input.isKeyRequired {
            throw CommandFailure.usage("this pipeline requires a key: give --key-template '{field}'")
        }
        let read = try EventFile(path: file, input: contract.input, template: template)
        for note in read.notes { Console.note("\(file): \(note)") }
        let events = limit.map { Array(read.events.prefix(max(0, $0))) } ?? read.events
        guard !events.isEmpty else { throw CommandFailure("\(file) holds no event") }

        let encoder = EventEncoder(
            source: source ?? "/\(contract.name)/published", type: "dev.penstock.\(contract.name).event")
        // Asked first: a producer waits for an absent broker for as long as its delivery time-out.
        let topics = try TopicReader(configuration: try cluster.consumerConfiguration()).topics([contract.topics.inputs]
        )
        guard !topics.isEmpty else {
            throw CommandFailure(
                "there is no topic \(contract.topics.inputs) at \(try cluster.servers()): "
                    + "create it with 'penstock topics apply \(pipeline)'")
        }
        let publisher = try Publisher(
            configuration: try cluster.producerConfiguration(), topic: contract.topics.inputs)
        let clock = ContinuousClock()
        let start = clock.now
        var progress = Progress("publishing")
        let (rate, format) = (rate, format)
        try publisher.sendAll(count: events.count, rate: rate) { index in
            encoder.encode(events[index], as: format.resolved(index))
        } onProgress: { _ in
            guard start.duration(to: clock.now) > .seconds(2) else { return }
            progress.show(done: publisher.deliveredCount, of: events.count)
        }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        let result = Result(
            topic: contract.topics.inputs, published: events.count, seconds: seconds,
            eventsPerSecond: Double(events.count) / max(seconds, 1e-6))
        progress.clear()
        if output.isJSON { return try Console.print(json: result) }
        Console.print(
            "Published \(Numbers.grouped(result.published)) events to \(result.topic) in "
                + "\(Numbers.decimal(seconds, 1)) s (\(Numbers.grouped(Int(result.eventsPerSecond))) a second).")
    }
}
