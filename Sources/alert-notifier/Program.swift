// alert-notifier: alerts in; webhooks and Alertmanager told.

import Alerting
import ArgumentParser
import EventContracts
import Foundation
import Logging
import Monitors
import Observability
import PipelineContract
import StageCommand
import StageRuntime

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "alert-notifier",
        abstract: "Tells webhooks and an Alertmanager of a pipeline's alerts, until they have heard.",
        discussion: """
            Without a receiver the alerts are only logged.

            Example: alert-notifier --pipeline topics/housing --bootstrap-servers localhost:9092 \\
                --alertmanager http://localhost:9093 --webhook http://localhost:8080/alerts
            """)

    @OptionGroup var options: StageOptions

    @Option(help: "URL that gets Alertmanager's webhook payload (version 4); may be repeated. [PENSTOCK_WEBHOOKS]")
    var webhook: [String] = []

    @Option(help: "URL of an Alertmanager; its API version 2 is used. [PENSTOCK_ALERTMANAGER]")
    var alertmanager: String?

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "notifier", program: AlertNotifier.program) {
            AlertNotifier.inputTopics($0.topics)
        }
        return await MonitorMain.run(definition, options: options, outputTopics: { _ in [] }, logic: makeLogic)
    }

    private func makeLogic(_ parts: StageParts) throws -> AlertNotifier {
        let webhooks = try addresses()
        let alertmanager = try alertmanagerAddress()
        let logger = parts.logger
        if webhooks.isEmpty, alertmanager == nil {
            logger.notice("No receiver is configured: alerts are only logged")
        }
        let registry = parts.registry
        return AlertNotifier(
            webhooks: webhooks, alertmanager: alertmanager,
            transport: { body, address, headers in
                do throws(HTTPFault) {
                    return .success(try HTTPPost.send(body, to: address, headers: headers))
                } catch {
                    return .failure(error)
                }
            },
            observer: { receiver, alert, failure in
                registry.counter(MetricNames.notifications, receiver, failure == nil ? "told" : "failed").add(1)
                let metadata: Logger.Metadata = [
                    "receiver": "\(receiver)", "alert": "\(alert.name)", "alert_id": "\(alert.id)",
                    "state": "\(alert.state.rawValue)",
                ]
                if let failure {
                    logger.warning("A receiver did not hear: \(failure)", metadata: metadata)
                } else {
                    logger.info("Told a receiver", metadata: metadata)
                }
            })
    }

    private func addresses() throws -> [HTTPAddress] {
        let environment = ProcessInfo.processInfo.environment["PENSTOCK_WEBHOOKS"] ?? ""
        let urls = webhook.isEmpty ? environment.split(separator: ",").map(String.init) : webhook
        return try urls.map { url in try Self.address(url, "--webhook") }
    }

    private func alertmanagerAddress() throws -> HTTPAddress? {
        let environment = ProcessInfo.processInfo.environment["PENSTOCK_ALERTMANAGER"] ?? ""
        guard let url = alertmanager ?? (environment.isEmpty ? nil : environment) else { return nil }
        var address = try Self.address(url, "--alertmanager")
        if address.path.hasSuffix("/") { address.path.removeLast() }
        address.path += "/api/v2/alerts"
        return address
    }

    private static func address(_ url: String, _ option: String) throws -> HTTPAddress {
        do {
            return try HTTPAddress(url)
        } catch {
            throw StageFailure(exitCode: 2, "\(option) \(error)")
        }
    }
}
