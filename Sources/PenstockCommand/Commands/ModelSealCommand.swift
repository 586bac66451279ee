// ModelSealCommand: `penstock model seal` makes a sealed model from files.

public import ArgumentParser
import Cryptography
import Foundation
import Inference
import LocalDeployment
import SealedModels
import Sealing
public import SecureMemory

extension LockMode: ExpressibleByArgument {}

/// Who seals, with which policy.
struct SealerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The owner's private key.", valueName: "file"))
    var key: String

    @Option(help: ArgumentHelp("The owner's id: his namespace at the key broker.", valueName: "name"))
    var owner = SealingKeys.standardOwner

    @Option(help: ArgumentHelp("Release policy (JSON); needed unless --allow-insecure-sample.", valueName: "file"))
    var policy: String?

    @Flag(help: "Accept attestation that proves nothing (provider `sample`). For development only.")
    var allowInsecureSample = false

    @Option(help: "Seconds after which a consumer must ask again.")
    var lease: Int64 = 300

    func sealer() throws -> ModelSealer {
        guard ReleaseTerms.leaseSecondsRange.contains(lease) else {
            throw CommandFailure.usage("--lease: 1 to 86400 seconds")
        }
        let key = try KeyFile.privateKey(key, passphrase: Passphrase.fromEnvironment)
        let releasePolicy: ReleasePolicy
        if let policy {
            guard let data = FileManager.default.contents(atPath: policy) else {
                throw CommandFailure("\(policy): the policy cannot be read")
            }
            releasePolicy = try ReleasePolicy(JSONValue(parsing: Array(data)))
        } else {
            guard allowInsecureSample else {
                throw CommandFailure.usage(
                    "--policy FILE says who may open the model; for development --allow-insecure-sample takes its place"
                )
            }
            releasePolicy = try .sample()
        }
        return ModelSealer(
            owner: owner, signer: key, policy: releasePolicy, sampleAllowed: allowInsecureSample, leaseSeconds: lease,
            escrow: [key.publicKey])
    }
}

extension ModelCommand {
    struct Seal: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Seal a model: encrypt and sign its files in one container.",
            discussion: """
                Takes the manifest (model.json), the ONNX file that it names and further files. Works in bounded memory,
                in two passes; a file that changes meanwhile is refused. The data key is in the container, encrypted to
                the owner's own key; 'penstock model register' hands it to a key broker.

                Example: penstock model seal topics/housing/artifacts/model.json model.smc --key owner.pem --policy policy.json
                """)

        @Argument(help: "Manifest of the model.")
        var manifest: String

        @Argument(help: "File for the sealed model.")
        var container: String

        @OptionGroup var sealer: SealerOptions

        @Option(help: ArgumentHelp("Further file to seal, beside the manifest; may be repeated.", valueName: "file"))
        var include: [String] = []

        @Option(
            help: ArgumentHelp("Public key that may seal fine-tuned descendants; may be repeated.", valueName: "file"))
        var resealTo: [String] = []

        @Option(help: "Lock mode that consumers must keep: required, bestEffort or off.")
        var lockMode = LockMode.bestEffort

        @Option(help: "Serial, rising from model to model (default: the time in milliseconds).")
        var serial: Int64?

        @Option(help: "Days for which the model is valid.")
        var days: Int64 = 365

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            guard (1...36_500).contains(days) else { throw CommandFailure.usage("--days: 1 to 36500") }
            guard let data = FileManager.default.contents(atPath: manifest) else {
                throw CommandFailure("\(manifest): the manifest cannot be read")
            }
            let model = try ModelManifest.decode(Array(data), path: manifest)
            let folder = (manifest as NSString).deletingLastPathComponent
            let onnx = folder.isEmpty ? model.onnx : "\(folder)/\(model.onnx)"
            var inputs = [
                SealedInput(name: SealedModelFiles.manifest, path: manifest),
                SealedInput(name: model.onnx, path: onnx),
            ]
            inputs += include.map { SealedInput(name: ($0 as NSString).lastPathComponent, path: $0) }
            let delegates = try resealTo.map { try KeyFile.publicKey($0).keyID }
            var sealer = try sealer.sealer()
            sealer.lockMode = lockMode
            sealer.validitySeconds = days * 86_400
            var progress = Progress("sealing")
            let result = try sealer.seal(
                inputs, name: model.name, version: model.version, serial: serial, contract: model.contract,
                usage: .init(
                    allow: delegates.isEmpty ? [.inference] : [.inference, .finetune], resealTo: delegates),
                to: container
            ) { progress.show(done: $0, of: $1, detail: "bytes, digests then encryption") }
            progress.clear()
            try SealedSummary(header: result.header, digest: result.headerSHA256, path: container).show(output)
        }
    }
}

/// Names of a model's files inside a container.
enum SealedModelFiles {
    static let manifest = "model.json"
    static let transform = "transform.json"
    static let evaluation = "evaluation.json"
    static let profile = "reference-profile.json"
}

/// Everything public about a sealed model.
struct SealedSummary: Encodable {
    struct File: Encodable {
        var path: String
        var size: Int64
        var sha256: String
    }

    var path: String
    var name: String
    var version: String
    var serial: Int64
    var kind: String
    var parentSerial: Int64?
    var owner: String
    var keyID: String
    var headerSHA256: String
    var files: [File]
    var plaintextBytes: Int64
    var notBefore: Int64
    var notAfter: Int64
    var usage: [String]
    var resealTo: [String]
    var policySHA256: String
    var keyBroker: String
    var sampleAllowed: Bool
    var lockMode: String
    var recipients: [String]

    init(header: ContainerHeader, digest: String, path: String, recipients: [Recipient] = []) {
        self.path = path
        name = header.name
        version = header.version
        serial = header.serial
        kind = header.kind.rawValue
        parentSerial = header.parent?.serial
        owner = header.owner
        keyID = header.keyID
        headerSHA256 = digest
        files = header.files.map { File(path: $0.path, size: $0.size, sha256: $0.sha256) }
        plaintextBytes = header.plaintextBytes
        notBefore = header.validity.notBefore
        notAfter = header.validity.notAfter
        usage = header.usage.allow.map(\.rawValue).sorted()
        resealTo = header.usage.resealTo
        policySHA256 = header.release.policySHA256
        keyBroker = header.release.uri
        sampleAllowed = header.release.sampleAllowed
        lockMode = header.lockMode.rawValue
        self.recipients = recipients.map {
            switch $0 {
            case .kbs(let uri): "kbs \(uri)"
            case .hpke(let keyID, _): "hpke \(keyID)"
            case .keyWrap(let uri, _): "a256kw \(uri)"
            }
        }
    }

    func show(_ output: OutputOption) throws {
        if output.isJSON { return try Console.print(json: self) }
        func time(_ seconds: Int64) -> String { Timestamp.text(microseconds: seconds * 1_000_000) }
        Console.print("sealed    \(path)")
        Console.print("model     \(name) version \(version), serial \(serial), \(kind)")
        if let parentSerial { Console.print("parent    serial \(parentSerial)") }
        Console.print("owner     \(owner), key \(keyID)")
        Console.print("header    \(headerSHA256)")
        for file in files {
            Console.print("file      \(file.path)  \(Numbers.grouped(Int(file.size))) bytes  \(file.sha256)")
        }
        Console.print("valid     \(time(notBefore)) to \(time(notAfter))")
        Console.print("usage     \(usage.joined(separator: ", ")); export denied")
        for key in resealTo { Console.print("reseal    \(key)") }
        Console.print("release   \(keyBroker), policy \(policySHA256)")
        if sampleAllowed { Console.print("INSECURE  attestation that proves nothing (sample) is accepted") }
        Console.print("memory    \(lockMode)")
        for recipient in recipients { Console.print("key for   \(recipient)") }
    }
}
