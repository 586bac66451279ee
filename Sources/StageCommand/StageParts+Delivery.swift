// StageParts+Delivery: the delivery of a stage that writes to Kafka topics, by the configured profile.

public import StageRuntime

extension StageParts {
    /// Profile `exact`: transactions under the instance's slot. Profile `latency`: an idempotent producer, offsets committed
    /// after the acknowledgements.
    ///
    /// - Parameters:
    ///   - outputTopics: in the order of the processor's output indices.
    ///   - module: named by dead letters as the part that refused the record.
    public func kafkaDelivery(
        outputTopics: [String], module: String, deadLetterStage: DeadLetterStage
    ) -> KafkaDelivery {
        var outputs = OutputSettings(
            producer: configuration.producer, outputTopics: outputTopics, module: module,
            deadLetterStage: deadLetterStage)
        outputs.startMillisecondsMax = configuration.settings.startMillisecondsMax
        outputs.faults = configuration.settings.faults
        switch configuration.profile {
        case .exact:
            var settings = ExactDelivery.Settings(outputs: outputs)
            settings.kills = configuration.settings.kills
            return KafkaDelivery(ExactDelivery(settings: settings, metrics: metrics, logger: logger))
        case .latency:
            let settings = AtLeastOnceDelivery.Settings(outputs: outputs)
            return KafkaDelivery(AtLeastOnceDelivery(settings: settings, metrics: metrics, logger: logger))
        }
    }
}
