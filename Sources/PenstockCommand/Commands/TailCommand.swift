// TailCommand: `penstock tail` prints records of a topic as they come.

import ArgumentParser
import EventContracts
import Kafka
import LocalDeployment
import PipelineContract

struct TailCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Print the records of a topic as they come.",
        discussion: """
            TOPIC is a full name, or one of the pipeline's: inputs, events, features, predictions, duplicates, monitoring,
            alerts, retraining, labels, models, telemetry and so on, and with
            .dlq behind it its dead letters. Ends with Ctrl-C or after --limit records.

            Example: penstock tail predictions --from beginning --limit 5
            """)

    enum Start: String, CaseIterable, ExpressibleByArgument { case beginning, end }

    @Argument(help: "Topic.")
    var topic: String

    @Option(help: "Where to start: beginning or end.")
    var from: Start = .end

    @Option(help: "Stop after N records.")
    var limit: Int?

    @Option(help: ArgumentHelp("Pipeline of the short topic names.", valueName: "path"))
    var pipeline: String?

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        if let limit, limit < 1 { throw CommandFailure.usage("--limit: at least 1") }
        let name = try fullName()
        let reader = try TopicReader(configuration: try cluster.consumerConfiguration())
        var count = 0
        let (limit, isJSON) = (limit, output.isJSON)
        try reader.follow([name], start: from == .beginning ? .beginning : .end) { record in
            if isJSON {
                try Console.print(jsonLine: RecordText(record))
            } else {
                Console.print(RecordText(record).line)
            }
            count += 1
            return count < limit ?? .max
        }
    }

    private func fullName() throws -> String {
        let short = [
            "inputs", "events", "features", "predictions", "duplicates", "label-inputs", "labels", "monitoring",
            "alerts",
            "retraining", "review", "models", "telemetry", "control",
        ]
        guard short.contains(topic) || short.contains(where: { topic == "\($0).dlq" }) else { return topic }
        let contract = try PipelineLoader.load(
            path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
        return "\(contract.topics.root).\(topic)"
    }
}

/// A record as text. Bytes that are no UTF-8 text are shown in hexadecimal, internal records by their prefix.
struct RecordText: Encodable {
    static let hexBytesMax = 64

    var topic: String
    var partition: Int32
    var offset: Int64
    var time: String
    var key: String?
    var value: String?
    var headers: [String: String]

    init(_ record: ReadRecord) {
        topic = record.topic
        partition = record.partition
        offset = record.offset
        time = Timestamp.text(microseconds: record.timestamp * 1_000)
        key = record.key.map(Self.text)
        value = record.value.map(Self.text)
        headers = Dictionary(
            record.headers.map { ($0.name, $0.value.map(Self.text) ?? "") }, uniquingKeysWith: { first, _ in first })
    }

    var line: String {
        let place = Console.styled("\(time) \(partition)/\(offset)", .dim)
        return "\(place) \(key ?? "(no key)") \(value ?? "(null)")"
    }

    static func text(_ bytes: [UInt8]) -> String {
        if let prefix = internalPrefix(bytes) { return prefix }
        if let text = String(validating: bytes, as: UTF8.self), !text.unicodeScalars.contains(where: isControl) {
            return text
        }
        let digits = Array("0123456789abcdef")
        let shown = bytes.prefix(hexBytesMax).map { "\(digits[Int($0 >> 4)])\(digits[Int($0 & 15)])" }
        return "0x" + shown.joined() + (bytes.count > hexBytesMax ? "… (\(bytes.count) bytes)" : "")
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 && scalar != "\t" && scalar != "\n" && scalar != "\r"
    }

    private static func internalPrefix(_ bytes: [UInt8]) -> String? {
        guard bytes.count >= RecordPrefix.byteCount, bytes[0] == RecordPrefix.formatVersion else { return nil }
        for kind in [RecordPrefix.Kind.event, .features] {
            guard let prefix = try? RecordPrefix(reading: bytes.span.bytes, expecting: kind) else { continue }
            return "[\(kind == .event ? "event" : "features") \(prefix.eventID) event time "
                + "\(Timestamp.text(microseconds: prefix.eventTime)), input \(prefix.inputPartition)/"
                + "\(prefix.inputOffset), \(bytes.count) bytes]"
        }
        return nil
    }
}
