// ModelAuditCommand: `penstock model audit` checks a key broker's audit, `penstock model decisions` shows an owner his part.

import ArgumentParser
import Attestation
import Foundation
import KeyBroker
import LocalDeployment
import Sealing

extension ModelCommand {
    struct Audit: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a key broker's audit and print what it says.",
            discussion: """
                Each line is signed by the broker and carries the digest of the line before: a changed, removed, added or
                moved line is found. A file that was cut at its end is a shorter, valid audit: --events-min says how many
                events there were at the last look. Exit status 1 when anything is wrong.

                Example: penstock model audit key-broker/audit.ndjson --broker-key key-broker/signing.pub.pem
                """)

        @Argument(help: "The audit.")
        var file: String

        @Option(help: ArgumentHelp("The key broker's public signing key.", valueName: "file"))
        var brokerKey: String

        @Option(help: "Fewest events that there must be.")
        var eventsMin = 0

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            guard FileManager.default.fileExists(atPath: file) else {
                throw CommandFailure("\(file): there is no audit")
            }
            let events = try AuditOutbox.verify(path: file, key: try KeyFile.publicKey(brokerKey))
            guard events.count >= eventsMin else {
                throw CommandFailure("\(file): \(events.count) events, at least \(eventsMin) were expected: it was cut")
            }
            if output.isJSON {
                for event in events { Console.print(event.canonicalText) }
                return
            }
            var table = Table(.right("seq"), .left("time"), .left("event"), .left("model"), .left("outcome"))
            for event in events {
                let seconds = event["time"]?.integer ?? 0
                let model = event["model"]?.string.map { "\($0) \(event["serial"]?.integer ?? 0)" }
                table.add(
                    String(event["seq"]?.integer ?? 0), Timestamp.text(microseconds: seconds * 1_000_000),
                    event["event"]?.string ?? "", model ?? event["resource"]?.string ?? "",
                    event["outcome"]?.string ?? event["reason"]?.string ?? "")
            }
            Console.print(table.text)
            Console.print("verified  \(Numbers.grouped(events.count)) events, signatures and chain")
        }
    }

    struct Decisions: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show an owner what a key broker decided about his models, and why.",
            discussion: """
                A consumer that is refused learns a code. The owner sees each claim, what his policy expected and what came.

                Example: penstock model decisions --key owner.pem --owner acme --key-broker https://broker:8443 \\
                  --key-broker-certificate broker.pem
                """)

        @Option(help: ArgumentHelp("The owner's private key.", valueName: "file"))
        var key: String

        @Option(help: ArgumentHelp("The owner's id: his namespace at the key broker.", valueName: "name"))
        var owner = SealingKeys.standardOwner

        @OptionGroup var broker: KeyBrokerOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let signer = try KeyFile.privateKey(key, passphrase: Passphrase.fromEnvironment)
            let events = try broker.client().decisions(
                owner: owner, signer: signer, now: Int64(Date().timeIntervalSince1970))
            for event in events {
                if output.isJSON {
                    Console.print(event.canonicalText)
                    continue
                }
                let time = Timestamp.text(microseconds: (event["time"]?.integer ?? 0) * 1_000_000)
                let outcome = event["outcome"]?.string.map { ": \($0)" } ?? ""
                Console.print("\(time)  \(event["event"]?.string ?? "")  \(event["resource"]?.string ?? "")\(outcome)")
                for finding in event["findings"]?.array ?? [] where finding["met"] != true {
                    let (claim, expected) = (finding["claim"]?.string ?? "", finding["expected"]?.string ?? "")
                    Console.print("    \(claim): expected \(expected), got \(finding["got"]?.string ?? "")")
                }
            }
        }
    }
}
