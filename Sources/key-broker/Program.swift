// key-broker: releases data keys of sealed models to attested consumers.

import ArgumentParser
import Foundation
import KeyBroker
import Logging
import Observability
import ProcessControl
import Sealing
import SecureMemory

@main
struct Program: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key-broker",
        abstract: "Releases the keys of sealed models to attested consumers (RCAR 0.4.0 over HTTPS).",
        discussion: """
            Keeps everything in --data: its own keys, the owners' public keys (owners/<owner>/*.pem, delegates below
            owners/<owner>/delegates/), the encrypted store and the audit. A model's owner registers release documents;
            a consumer gets a key only when the document, the policy and the evidence allow it.

            Example: key-broker --data .penstock/key-broker --port 8443
            """)

    @Option(help: "Folder of the broker's keys, owners, store and audit.")
    var data: String

    @Option(help: "Address to serve on; without TLS 127.0.0.1 only.")
    var host = "127.0.0.1"

    @Option(help: "Port to serve on; 0 takes a free one.")
    var port = 0

    @Option(help: "File that gets the broker's URL, written in one piece.")
    var addressFile: String?

    @Option(help: "Port of /livez, /readyz and /metrics on 127.0.0.1; 0 takes a free one.")
    var healthPort = 0

    @Option(help: "File that gets the bound health port.")
    var healthPortFile: String?

    @Option(help: "Requests a minute from one address.")
    var requestsPerMinute = 600

    @Flag(help: "Accept evidence that proves nothing (provider `sample`). For development only.")
    var allowInsecureSample = false

    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel = "info"

    @Flag(help: "Stop when the process that started this one ends.")
    var exitWithParent = false

    mutating func run() async throws {
        // Before any other thread exists, so that the signals reach only `wait`.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("--log-level: choose trace, debug, info, notice, warning, error or critical")
        }
        StructuredLogHandler.bootstrap(component: "key-broker", level: level)
        let logger = Logger(label: "key-broker")
        if exitWithParent, !ProcessControl.exitWithParent() { return }
        do {
            try await serve(signals, logger)
        } catch {
            logger.error("The key broker cannot serve", metadata: ["error": "\(error)"])
            throw ExitCode.failure
        }
    }

    private func serve(_ signals: TerminationSignals, _ logger: Logger) async throws {
        try ProcessHardening.apply(mode: .bestEffort)
        let signer = try BrokerIdentity.prepare(data)
        let service = try KeyBrokerService(
            KeyBrokerOptions(
                folder: data, allowsInsecureSample: allowInsecureSample, requestsPerMinute: requestsPerMinute),
            signer: signer)
        try service.noteStart(now: Self.now())
        if allowInsecureSample {
            logger.critical(
                "INSECURE: keys are released on evidence that proves nothing (--allow-insecure-sample)",
                metadata: ["insecure": "true"])
        }
        let server = try await KeyBrokerServer.start(
            service, host: host, port: port,
            tls: (certificate: BrokerIdentity.certificatePath(data), key: BrokerIdentity.keyPath(data)),
            clock: { Self.now() })
        let health = HealthState()
        let pages = try await HealthServer.start(port: healthPort, health: health, metrics: MetricsRegistry())
        health.markReady()
        if let path = addressFile { try AtomicFile.write("https://\(host):\(server.port)\n", to: path) }
        if let path = healthPortFile { try AtomicFile.write("\(pages.port)\n", to: path) }
        logger.info(
            "The key broker serves",
            metadata: ["address": "https://\(host):\(server.port)", "insecure": "\(allowInsecureSample)"])
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            Threads.start(named: "signals") {
                _ = signals.wait()
                continuation.resume()
            }
        }
        await server.shutdown()
        await pages.shutdown()
    }

    private static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }
}
