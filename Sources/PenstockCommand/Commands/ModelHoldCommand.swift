// ModelHoldCommand: `penstock model hold` opens a sealed model as a consumer does and holds it, for checks of protection.

import ArgumentParser
import Attestation
import Cryptography
import Foundation
import Inference
import SealedModels
import Sealing
import SecureMemory

extension ModelCommand {
    struct Hold: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Open a sealed model through a key broker and hold it in protected memory.",
            discussion: """
                Prints the process id, where the model lies and what protects it, and the time that opening took; ends with
                standard input. --unhardened leaves the process as it is, to show what the hardening is good for.

                Example: penstock model hold model.smc --owner-key owner.pem.pub --key-broker https://127.0.0.1:8443 \\
                  --key-broker-certificate broker.pem --insecure-sample-attestation
                """, shouldDisplay: false)

        @Argument(help: "The sealed model.")
        var container: String

        @Option(help: ArgumentHelp("Public key of the owner.", valueName: "file"))
        var ownerKey: String

        @OptionGroup var broker: KeyBrokerOptions

        @Flag(help: "Yes to the provider `sample`, which proves nothing.")
        var insecureSampleAttestation = false

        @Option(help: "Locking of the model's memory: required, bestEffort or off.")
        var lockMode = LockMode.bestEffort

        @Flag(help: "Do not harden the process.")
        var unhardened = false

        @Flag(help: "Load the model into the engine and predict one row of zeros.")
        var predict = false

        private struct Result: Encodable {
            var pid: Int32
            var address: String
            var bytes: Int
            var isLocked: Bool
            var milliseconds: Double
            var bytesPerSecond: Double
            var loadMilliseconds: Double?
            var predictMilliseconds: Double?
            var protection: ProtectionReport
        }

        mutating func run() throws {
            // A caller's thread that blocks signals hands that on.
            var all = sigset_t()
            sigfillset(&all)
            sigprocmask(SIG_UNBLOCK, &all, nil)
            if !unhardened {
                ProcessHardening.confineWrites(to: [])
                try ProcessHardening.apply(mode: lockMode)
                ProcessHardening.filterCalls()
            }
            let client = try KeyBrokerClient(
                address: try BrokerAddress(broker.keyBroker), certificatePath: broker.keyBrokerCertificate,
                provider: try SampleEvidenceProvider(isAllowed: insecureSampleAttestation))
            let loader = SealedModelLoader(
                SealedModelAccess(
                    broker: client, owners: TrustedOwners([try KeyFile.publicKey(ownerKey)]), usage: .inference,
                    lockMode: lockMode))
            let clock = ContinuousClock()
            let start = clock.now
            let source = try loader.open(container)
            let seconds = start.duration(to: clock.now) / .seconds(1)
            let opened = clock.now
            let session = predict ? try InferenceSession.load(source, contractHash: nil, rowsMax: 1) : nil
            let loaded = clock.now
            _ = session.map { $0.run([Float](repeating: 0, count: $0.inputWidth), count: 1) }
            let predicted = clock.now
            func milliseconds(_ from: ContinuousClock.Instant, _ to: ContinuousClock.Instant) -> Double? {
                predict ? from.duration(to: to) / .milliseconds(1) : nil
            }
            let (address, bytes) = try source.withModelBytes { bytes in
                bytes.withUnsafeBytes { (UInt(bitPattern: $0.baseAddress), $0.count) }
            }
            try Console.print(
                json: Result(
                    pid: getpid(), address: "0x" + String(address, radix: 16), bytes: bytes,
                    isLocked: source.model.isLocked, milliseconds: seconds * 1_000,
                    bytesPerSecond: Double(source.model.header.plaintextBytes) / seconds,
                    loadMilliseconds: milliseconds(opened, loaded),
                    predictMilliseconds: milliseconds(loaded, predicted), protection: ProcessHardening.report()))
            fflush(nil)
            while readLine() != nil {}
            withExtendedLifetime((source, session)) {}
        }
    }
}
