// Deployment+KeyBroker: the process that releases the sealed model's key, and who asks it.

import FoundationEssentials
import Glibc

/// The key broker of a local deployment. It accepts the attestation provider `sample`, which proves nothing: this machine
/// protects itself from no one.
public struct SealingConfiguration: Sendable {
    /// Folder of the key broker.
    public var brokerFolder: String
    /// The owner's public key, which the consumers pin.
    public var trustedOwner: String
    /// The trainer's private key, which seals candidates.
    public var trainerKey: String
    /// Makes the broker know its owners; before its start.
    public var prepare: @Sendable () throws -> Void
    /// Hands the model's key to the broker at this address with this certificate; before a consumer starts that opens it.
    public var register: @Sendable (_ url: String, _ certificate: String) throws -> Void

    public init(
        brokerFolder: String, trustedOwner: String, trainerKey: String,
        prepare: @escaping @Sendable () throws -> Void,
        register: @escaping @Sendable (_ url: String, _ certificate: String) throws -> Void
    ) {
        self.brokerFolder = brokerFolder
        self.trustedOwner = trustedOwner
        self.trainerKey = trainerKey
        self.prepare = prepare
        self.register = register
    }

    var certificate: String { "\(brokerFolder)/certificate.pem" }
}

extension Deployment {
    public static let keyBroker = "key-broker"
    /// The programs that open or verify sealed models.
    static let modelReaders: Set<String> = ["inference-consumer", "retraining-consumer", "promotion-gate"]

    private static func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map {
            String(decoding: $0, as: UTF8.self).filter { !$0.isWhitespace }
        }
    }

    func keyBrokerChild(_ sealing: SealingConfiguration) -> ManagedChild {
        let data = configuration.data
        let (address, portFile) = ("\(data.run)/key-broker.url", "\(data.run)/key-broker.port")
        let programs = configuration.programs
        let logLevel = configuration.logLevel
        let port: () -> Int? = { Self.text(portFile).flatMap(Int.init) }
        return ManagedChild(
            plan: ChildPlan(name: Self.keyBroker, stopRank: Self.stages.count, stopMilliseconds: 3_000),
            launch: {
                // The port stays the same over a restart, or running consumers could not renew their leases.
                let before = Self.text(address)?.split(separator: ":").last.flatMap { Int($0) } ?? 0
                unlink(address)
                unlink(portFile)
                try sealing.prepare()
                return Launch(
                    executable: "\(programs)/key-broker",
                    arguments: [
                        "--data", sealing.brokerFolder, "--port", String(before), "--address-file", address,
                        "--health-port-file", portFile, "--allow-insecure-sample", "--log-level", logLevel,
                        "--exit-with-parent",
                    ])
            },
            isReady: {
                Self.text(address) != nil && (port().map { HealthProbe.isReady(port: $0) } ?? false)
            },
            healthPort: port)
    }

    /// The options of a program that opens sealed models; hands the model's key to the broker first.
    func sealingArguments(_ stage: String) throws -> [String] {
        guard Self.modelReaders.contains(stage) else { return [] }
        guard let sealing = configuration.sealing else { return ["--allow-unsealed-model"] }
        guard let url = Self.text("\(configuration.data.run)/key-broker.url") else {
            throw DeploymentError(.spawn, "the key broker has not told its address yet")
        }
        if stage == "inference-consumer" { try sealing.register(url, sealing.certificate) }
        if stage == "promotion-gate" { return ["--trusted-owner", sealing.trustedOwner] }
        let trainer = stage == "retraining-consumer" ? ["--trainer-key", sealing.trainerKey] : []
        return trainer + [
            "--key-broker", url, "--key-broker-certificate", sealing.certificate, "--trusted-owner",
            sealing.trustedOwner, "--attestation", "sample", "--insecure-sample-attestation",
        ]
    }
}
