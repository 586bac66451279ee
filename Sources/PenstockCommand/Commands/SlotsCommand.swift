// SlotsCommand: `penstock slots release` takes a slot out of its group when a stage is scaled down for good.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import PipelineContract

struct SlotsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "slots",
        abstract: "The instance slots of a pipeline's stages.",
        discussion: """
            Example: penstock slots release topics/housing --stage transform --slot transform-consumer-2
            """,
        subcommands: [Release.self])

    enum Stage: String, ExpressibleByArgument, CaseIterable {
        case ingest, transform, inference, sink

        func inputTopic(_ topics: PipelineTopics) -> String {
            switch self {
            case .ingest: topics.inputs
            case .transform: topics.events
            case .inference: topics.features
            case .sink: topics.predictions
            }
        }
    }

    struct Release: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "release",
            abstract: "Take a slot out of its group, so that the others take over its partitions at once.",
            discussion: """
                In the profile exact an instance keeps its slot and partitions over a restart, so stopping one does not
                hand them over: the group waits for the session time-out. This command joins under the slot's name, ends the
                transaction that the slot may have left open, and leaves the group for good. A process that still works
                on the slot is fenced and ends: stop it first.

                Example: penstock slots release topics/housing --stage transform --slot transform-consumer-2
                """)

        static let secondsMax = 60.0

        @Argument(help: "Folder or pipeline.yaml of the pipeline.")
        var pipeline: String

        @Option(help: "The stage: ingest, transform, inference or sink.")
        var stage: Stage

        @Option(help: "The slot: what the instance was given as --instance, or <host>-<n>.")
        var slot: String

        @Option(help: "The stage's consumer group; <prefix>.<pipeline>.<stage> unless given.")
        var group: String?

        @OptionGroup var cluster: ClusterOptions

        mutating func run() throws {
            Interrupt.hold()
            let contract = try PipelineLoader.load(path: PipelineLocator.absolute(pipeline))
            let group = group ?? "\(contract.topics.root).\(stage.rawValue)"
            let name = "\(group).\(slot)"
            var configuration = try cluster.consumerConfiguration(group: group)
            try configuration.makeStaticMember(name)
            if stage != .sink { try endTransaction(name) }
            let consumer = try Consumer(configuration: configuration)
            try consumer.subscribe(topics: [stage.inputTopic(contract.topics)])
            try wait(consumer, for: .assign, what: "joined")
            // A static member leaves its group only by giving up its subscription.
            try consumer.unsubscribe()
            try wait(consumer, for: .revoke, what: "left")
            try consumer.close(timeoutMilliseconds: TopicReader.requestMilliseconds)
            Console.print("slot \(slot) of \(group) is released")
        }

        /// Ends what the slot's producer left open, and fences it.
        private func endTransaction(_ name: String) throws {
            var configuration = try KafkaConfiguration.producerDefaults(
                bootstrapServers: try cluster.servers(), clientID: "penstock")
            try configuration.set("statistics.interval.ms", "0")
            try configuration.makeTransactional(name)
            let producer = try Producer(configuration: configuration)
            try producer.initializeTransactions(timeoutMilliseconds: TopicReader.requestMilliseconds)
        }

        /// Answers rebalances without reading anything, until one of that kind came.
        private func wait(_ consumer: Consumer, for kind: Rebalance.Kind, what: String) throws {
            let clock = ContinuousClock()
            let deadline = clock.now + .seconds(Self.secondsMax)
            while clock.now < deadline {
                try Interrupt.check()
                guard let event = consumer.poll(timeoutMilliseconds: 100, { _ in }) else { continue }
                switch event {
                case .rebalance(let change):
                    if change.kind == .assign {
                        try consumer.incrementalAssign([])
                    } else {
                        try consumer.incrementalUnassign(change.partitions)
                    }
                    if change.kind == kind { return }
                case .error(let error, _, _) where error.isFatal: throw error
                default: continue
                }
            }
            throw CommandFailure("the group was not \(what) within \(Int(Self.secondsMax)) s: see its other members")
        }
    }
}
