// reaction-controller: reports in; alerts, decisions and retraining requests out.

import ArgumentParser
import EventContracts
import Monitors
import PipelineContract
import StageCommand
import StageRuntime

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "reaction-controller",
        abstract: "Makes alerts of the monitors' reports, and decides what follows from them.",
        discussion: """
            One instance works at a time: a second one takes over and the first one stops.

            Example: reaction-controller --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "reaction", program: ReactionController.program) {
            ReactionController.inputTopics($0.topics)
        }
        return await MonitorMain.run(
            definition, options: options, outputTopics: { ReactionController.outputTopics($0.topics) },
            logic: { ReactionController(pipeline: $0.configuration.pipeline) })
    }
}
