// ContainerHeader: what a sealed model says of itself, in the open and signed.

import Cryptography
public import SecureMemory

/// What a model may be opened for.
public enum SealedUsage: String, Sendable, CaseIterable { case inference, finetune }

/// The header of a container `SMC1`. Its bytes are the canonical JSON (RFC 8785) of `json`.
public struct ContainerHeader: Sendable, Equatable {
    public enum Kind: String, Sendable { case base, finetuned }

    /// The model that a fine-tuned one comes from. The parent's own header and signatures travel along, so that a reader
    /// who knows only the owner's key can verify that the owner allowed it.
    public struct Parent: Sendable, Equatable {
        public var name: String
        public var serial: Int64
        /// SHA-256 of the parent's header, 64 hexadecimal digits.
        public var headerSHA256: String
        public var header: [UInt8]
        /// The parent's signature block as it stands in its container.
        public var signatures: [UInt8]

        public init(name: String, serial: Int64, headerSHA256: String, header: [UInt8], signatures: [UInt8]) {
            self.name = name
            self.serial = serial
            self.headerSHA256 = headerSHA256
            self.header = header
            self.signatures = signatures
        }
    }

    public struct File: Sendable, Equatable {
        public var path: String
        public var size: Int64
        /// 64 hexadecimal digits.
        public var sha256: String
    }

    /// Seconds since the Unix epoch; both ends belong to it.
    public struct Validity: Sendable, Equatable {
        public var notBefore: Int64
        public var notAfter: Int64

        public init(notBefore: Int64, notAfter: Int64) {
            self.notBefore = notBefore
            self.notAfter = notAfter
        }
    }

    /// What may be done with the model. `export` is always denied.
    public struct Usage: Sendable, Equatable {
        public var allow: Set<SealedUsage>
        /// Ids of the keys that may seal a fine-tuned descendant.
        public var resealTo: [String]
        /// What a descendant may be used for.
        public var outputUsage: Set<SealedUsage>

        public init(allow: Set<SealedUsage>, resealTo: [String] = [], outputUsage: Set<SealedUsage> = [.inference]) {
            self.allow = allow
            self.resealTo = resealTo
            self.outputUsage = outputUsage
        }
    }

    /// How the data key is released.
    public struct Release: Sendable, Equatable {
        /// Of the canonical JSON of the release policy, 64 hexadecimal digits.
        public var policySHA256: String
        /// `kbs:///<owner>/dek/<name>-<serial>`.
        public var uri: String
        /// Whether the owner accepts the insecure provider `sample`.
        public var sampleAllowed: Bool
    }

    public static let format = "smc1"
    public static let byteCountMax = 1 << 20
    public static let filesMax = 64
    /// A plaintext of more does not fit into 46 address bits beside everything else.
    public static let plaintextBytesMax: Int64 = 1 << 42

    public var name: String
    public var version: String
    /// Rises with every sealing of a model of this name.
    public var serial: Int64
    public var kind: Kind
    /// Hash of the feature contract that the model was made for; nil when the owner does not tell.
    public var contract: String?
    public var parent: Parent?
    public var owner: String
    /// Id of the signing key: SHA-256 of its SubjectPublicKeyInfo in DER, 64 hexadecimal digits.
    public var keyID: String
    /// Sorted by path.
    public var files: [File]
    public var validity: Validity
    public var usage: Usage
    public var release: Release
    public var lockMode: LockMode
    /// Seconds since the Unix epoch.
    public var created: Int64

    public var plaintextBytes: Int64 { files.reduce(0) { $0 + $1.size } }
}

// MARK: JSON

extension ContainerHeader {
    public var json: JSONValue {
        var model: [String: JSONValue] = [
            "name": .string(name), "version": .string(version), "serial": .integer(serial),
            "kind": .string(kind.rawValue),
        ]
        if let contract { model["contract"] = .string(contract) }
        if let parent {
            model["parent"] = [
                "name": .string(parent.name), "serial": .integer(parent.serial),
                "headerSha256": .string(parent.headerSHA256), "header": .string(Base64.encodeURL(parent.header)),
                "signatures": .string(Base64.encodeURL(parent.signatures)),
            ]
        }
        let files = self.files.map { file -> JSONValue in
            ["path": .string(file.path), "size": .integer(file.size), "sha256": .string(file.sha256)]
        }
        return [
            "format": .string(Self.format), "model": .object(model),
            "owner": ["id": .string(owner), "keyid": .string(keyID)], "files": .array(files),
            "plaintextSize": .integer(plaintextBytes),
            "validity": ["notBefore": .integer(validity.notBefore), "notAfter": .integer(validity.notAfter)],
            "usage": [
                "allow": Self.list(usage.allow), "export": "deny",
                "finetune": [
                    "resealTo": .array(usage.resealTo.map { .string($0) }), "outputUsage": Self.list(usage.outputUsage),
                ],
            ],
            "release": [
                "policySha256": .string(release.policySHA256), "kbs": .string(release.uri),
                "sampleAllowed": .bool(release.sampleAllowed),
            ],
            "lockMode": .string(lockMode.rawValue), "created": .integer(created),
        ]
    }

    private static func list(_ usages: Set<SealedUsage>) -> JSONValue {
        .array(usages.map(\.rawValue).sorted().map { .string($0) })
    }

    /// Reads and checks a header: canonical form, exactly the known members, limits, paths.
    public init(canonical bytes: [UInt8]) throws(SealingError) {
        guard bytes.count <= Self.byteCountMax else {
            throw SealingError(.badHeader, "the header has \(bytes.count) bytes, at most \(Self.byteCountMax) are read")
        }
        let root = MemberReader(try JSONValue(canonical: bytes, what: "the header"), "header")
        try root.only([
            "format", "model", "owner", "files", "plaintextSize", "validity", "usage", "release", "lockMode", "created",
        ])
        guard try root.text("format") == Self.format else {
            throw SealingError(.badHeader, "header.format is not \(Self.format): this program cannot read it")
        }
        let model = try root.object("model")
        try model.only(["name", "version", "serial", "kind", "contract", "parent"])
        name = try model.identifier("name")
        version = try model.identifier("version")
        serial = try model.count("serial")
        kind = try model.word("kind", Kind.self)
        contract = model.has("contract") ? try model.identifier("contract") : nil
        parent = try model.optional("parent").map { value throws(SealingError) in
            try value.only(["name", "serial", "headerSha256", "header", "signatures"])
            return Parent(
                name: try value.identifier("name"), serial: try value.count("serial"),
                headerSHA256: try value.digest("headerSha256"), header: try value.bytes("header"),
                signatures: try value.bytes("signatures"))
        }
        guard (kind == .finetuned) == (parent != nil) else {
            throw SealingError(.badHeader, "header.model: a fine-tuned model has a parent, a base model has none")
        }
        let owner = try root.object("owner")
        try owner.only(["id", "keyid"])
        self.owner = try owner.identifier("id")
        keyID = try owner.digest("keyid")
        let validity = try root.object("validity")
        try validity.only(["notBefore", "notAfter"])
        self.validity = Validity(notBefore: try validity.count("notBefore"), notAfter: try validity.count("notAfter"))
        usage = try Self.usage(try root.object("usage"))
        let release = try root.object("release")
        try release.only(["policySha256", "kbs", "sampleAllowed"])
        self.release = Release(
            policySHA256: try release.digest("policySha256"), uri: try release.text("kbs"),
            sampleAllowed: try release.flag("sampleAllowed"))
        lockMode = try root.word("lockMode", LockMode.self)
        created = try root.count("created")
        files = try Self.files(root)
        let size = plaintextBytes
        guard try root.count("plaintextSize") == size, size <= Self.plaintextBytesMax else {
            throw SealingError(.badHeader, "header.plaintextSize is not the sum of the files' sizes, or too large")
        }
    }

    private static func usage(_ usage: MemberReader) throws(SealingError) -> Usage {
        try usage.only(["allow", "export", "finetune"])
        guard try usage.text("export") == "deny" else {
            throw SealingError(.badHeader, "header.usage.export must be deny: there is no way to export a model")
        }
        let finetune = try usage.object("finetune")
        try finetune.only(["resealTo", "outputUsage"])
        return Usage(
            allow: try usage.words("allow", SealedUsage.self), resealTo: try finetune.digests("resealTo"),
            outputUsage: try finetune.words("outputUsage", SealedUsage.self))
    }

    private static func files(_ root: MemberReader) throws(SealingError) -> [File] {
        let values = try root.list("files")
        guard (1...filesMax).contains(values.count) else {
            throw SealingError(.badHeader, "header.files has \(values.count) entries, 1 to \(filesMax) are read")
        }
        var result: [File] = []
        for value in values {
            let entry = MemberReader(value, "header.files")
            try entry.only(["path", "size", "sha256"])
            let file = File(
                path: try entry.text("path"), size: try entry.count("size"), sha256: try entry.digest("sha256"))
            guard isPlain(file.path) else {
                throw SealingError(.badHeader, "header.files: the path '\(file.path)' is not a plain relative path")
            }
            guard file.size <= plaintextBytesMax, result.last.map({ $0.path < file.path }) ?? true else {
                throw SealingError(.badHeader, "header.files is not sorted by path, names one twice or is too large")
            }
            result.append(file)
        }
        return result
    }

    /// Relative, without `.` and `..`, printable ASCII.
    public static func isPlain(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return path.utf8.count <= 255 && path.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x5c }
            && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}
