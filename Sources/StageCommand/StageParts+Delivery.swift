// StageParts+Delivery: the delivery of a stage that writes to Kafka topics, by the configured profile.

public import StageRuntime

extension StageParts {
    /// The profile `latency`: an idempotent producer, offsets committed after the acknowledgements.
    ///
    /// - Parameters:
    ///   - outputTopics: in the order of the processor's output indices.
    ///   - module: named by dead letters as the part that refused the record.
    public func kafkaDelivery(
        outputTopics: [String], module: String, deadLetterStage: DeadLetterStage
    ) -> AtLeastOnceDelivery {
        var settings = AtLeastOnceDelivery.Settings(
            producer: configuration.producer, outputTopics: outputTopics, module: module,
            deadLetterStage: deadLetterStage)
        settings.startMillisecondsMax = configuration.settings.startMillisecondsMax
        settings.faults = configuration.settings.faults
        return AtLeastOnceDelivery(settings: settings, metrics: metrics, logger: logger)
    }
}
