// PredictionsExample: a consumer of predictions in Swift, on the package's own Kafka module.
//
//     swift run predictions-example 127.0.0.1:9092 penstock.housing.predictions
//
// The record's format is topics/housing/schemas/housing-prediction.schema.json.

import Foundation
import Kafka

/// What this example reads of a prediction; a record has more members.
struct Prediction: Decodable {
    var event_id: String
    var entity: String?
    var event_time: String
    var score: Double
    var label: Int
    var model: String
    var model_version: String
}

@main
enum PredictionsExample {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count >= 2 else {
            print("usage: predictions-example BOOTSTRAP-SERVERS [TOPIC] [LIMIT]")
            exit(2)
        }
        do {
            try consume(
                servers: arguments[1], topic: arguments.count > 2 ? arguments[2] : "penstock.housing.predictions",
                limit: arguments.count > 3 ? Int(arguments[3]) ?? .max : .max)
        } catch {
            FileHandle.standardError.write(Data("error: \(error)\n".utf8))
            exit(1)
        }
    }

    static func consume(servers: String, topic: String, limit: Int) throws {
        // Without a group: this process reads all partitions from their beginning and commits nothing.
        var configuration = KafkaConfiguration()
        try configuration.set("bootstrap.servers", servers)
        try configuration.set("auto.offset.reset", "earliest")
        let consumer = try Consumer(configuration: configuration)
        let partitions = try consumer.topics(named: [topic], timeoutMilliseconds: 10_000).flatMap(\.partitions)
        guard !partitions.isEmpty else {
            throw KafkaError(code: .unknownTopicOrPartition, message: "there is no topic \(topic) on \(servers)")
        }
        try consumer.assign(partitions.map { ($0, KafkaOffset.beginning) })

        let decoder = JSONDecoder()
        var count = 0
        while count < limit {
            let polled = try consumer.pollMessages(maximum: min(1_000, limit - count), timeoutMilliseconds: 1_000) {
                message in
                let prediction = try decoder.decode(Prediction.self, from: Data(message.value ?? []))
                let entity = prediction.entity ?? "(no key)"
                print("\(prediction.event_time)  \(entity)  score \(prediction.score)  label \(prediction.label)")
            }
            count += polled.messageCount
            // Into a pipe as promptly as onto a terminal.
            if polled.messageCount > 0 { fflush(nil) }
            if case .error(let error, _, _) = polled.event, error.isFatal { throw error }
        }
    }
}
