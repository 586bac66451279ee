// ModelOptions: how the inference consumer comes to its model.

import ArgumentParser
import Attestation
import Foundation
import SealedModels
import Sealing
import SecureMemory

extension LockMode: ExpressibleByArgument {}

/// Options of programs that open sealed models; each can come from the environment too.
struct ModelOptions: ParsableArguments {
    enum Provider: String, CaseIterable, ExpressibleByArgument { case sample }

    @Option(help: "The key broker, https://HOST:PORT. [PENSTOCK_KEY_BROKER]")
    var keyBroker: String?

    @Option(help: "The key broker's own certificate (PEM), the only one accepted. [PENSTOCK_KEY_BROKER_CERTIFICATE]")
    var keyBrokerCertificate: String?

    @Option(help: "Public key of an owner whose models are opened; repeat it. [PENSTOCK_TRUSTED_OWNERS, split by ':']")
    var trustedOwner: [String] = []

    @Option(help: "Attestation provider; none is ever chosen by itself. [PENSTOCK_ATTESTATION]")
    var attestation: Provider?

    @Flag(help: "Yes to the provider `sample`, which proves nothing. [PENSTOCK_INSECURE_SAMPLE_ATTESTATION=1]")
    var insecureSampleAttestation = false

    @Option(help: "Locking of the model's memory: required, bestEffort or off. [PENSTOCK_LOCK_MODE]")
    var lockMode: LockMode?

    @Option(help: "Oldest serial that is opened. [PENSTOCK_SERIAL_MIN]")
    var serialMin: Int64?

    @Flag(help: "Load model.json and its ONNX file unsealed. For development. [PENSTOCK_ALLOW_UNSEALED_MODEL=1]")
    var allowUnsealedModel = false

    private func variable(_ name: String) -> String? {
        ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    var isUnsealed: Bool { allowUnsealedModel || variable("PENSTOCK_ALLOW_UNSEALED_MODEL") == "1" }

    func resolvedLockMode() throws -> LockMode {
        if let lockMode { return lockMode }
        guard let text = variable("PENSTOCK_LOCK_MODE") else { return .bestEffort }
        guard let mode = LockMode(rawValue: text) else {
            throw SealingError(.badDocument, "PENSTOCK_LOCK_MODE is '\(text)': required, bestEffort or off")
        }
        return mode
    }

    /// What opening a model takes. Every mistake names the option.
    func access(usage: ModelUsage) throws -> SealedModelAccess {
        guard let url = keyBroker ?? variable("PENSTOCK_KEY_BROKER") else {
            throw SealingError(
                .policy,
                "the model is sealed and no key broker is named: --key-broker https://HOST:PORT "
                    + "(or, for development, --allow-unsealed-model)")
        }
        let paths =
            trustedOwner.isEmpty
            ? (variable("PENSTOCK_TRUSTED_OWNERS") ?? "").split(separator: ":").map(String.init) : trustedOwner
        guard !paths.isEmpty else {
            throw SealingError(.untrusted, "no owner is trusted: --trusted-owner FILE names his public key")
        }
        let provider = attestation ?? variable("PENSTOCK_ATTESTATION").flatMap(Provider.init(rawValue:))
        guard provider == .sample else {
            throw AttestationError(
                .evidence,
                "no attestation provider is chosen: --attestation sample is all that this machine can do, "
                    + "and it proves nothing")
        }
        let evidence = try SampleEvidenceProvider(
            isAllowed: insecureSampleAttestation || variable("PENSTOCK_INSECURE_SAMPLE_ATTESTATION") == "1")
        let broker = try KeyBrokerClient(
            address: try BrokerAddress(url),
            certificatePath: keyBrokerCertificate ?? variable("PENSTOCK_KEY_BROKER_CERTIFICATE"), provider: evidence)
        return SealedModelAccess(
            broker: broker, owners: TrustedOwners(try paths.map { try KeyFile.publicKey($0) }), usage: usage,
            lockMode: try resolvedLockMode(),
            serialMin: serialMin ?? variable("PENSTOCK_SERIAL_MIN").flatMap { Int64($0) } ?? 0)
    }
}
