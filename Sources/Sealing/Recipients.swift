// Recipients: who can get at the data key. The block can be replaced without signing the header again.

public import Cryptography
public import SecureMemory

/// One way to the data key.
public enum Recipient: Sendable, Equatable {
    /// The key broker holds the key; the header's `release.kbs` names the place.
    case kbs(uri: String)
    /// The key, encrypted to a P-384 key (the owner's own, or an escrow's).
    case hpke(keyID: String, sealed: HPKE.Sealed)
    /// The key, wrapped with a 256-bit key that `kekURI` names.
    case keyWrap(kekURI: String, wrapped: [UInt8])
}

enum RecipientBlock {
    static let recipientsMax = 32

    /// HPKE's info: bound to this header, so that a block of another container does not open.
    static func info(headerSHA256: [UInt8], keyID: String) -> [UInt8] {
        Array("smc1-wrap".utf8) + [0] + headerSHA256 + Array("hpke".utf8) + Array(keyID.utf8)
    }

    static func encode(_ recipients: [Recipient]) -> [UInt8] {
        JSONValue.array(
            recipients.map { recipient -> JSONValue in
                switch recipient {
                case .kbs(let uri): ["type": "kbs", "uri": .string(uri)]
                case .hpke(let keyID, let sealed):
                    [
                        "type": "hpke", "suite": .string(HPKE.suite), "kid": .string(keyID),
                        "enc": .string(Base64.encodeURL(sealed.encapsulatedKey)),
                        "ct": .string(Base64.encodeURL(sealed.ciphertext)),
                    ]
                case .keyWrap(let uri, let wrapped):
                    ["type": "a256kw", "kekUri": .string(uri), "wrapped": .string(Base64.encodeURL(wrapped))]
                }
            }
        ).canonical
    }

    static func decode(_ bytes: [UInt8]) throws(SealingError) -> [Recipient] {
        let values = try JSONValue(canonical: bytes, what: "the recipient block").array ?? []
        guard (1...recipientsMax).contains(values.count) else {
            throw SealingError(.badRecipients, "there must be 1 to \(recipientsMax) recipients, not \(values.count)")
        }
        var result: [Recipient] = []
        for value in values {
            let reader = MemberReader(value, "recipients")
            switch try reader.text("type") {
            case "kbs":
                try reader.only(["type", "uri"])
                result.append(.kbs(uri: try reader.text("uri")))
            case "hpke":
                try reader.only(["type", "suite", "kid", "enc", "ct"])
                let sealed = HPKE.Sealed(
                    encapsulatedKey: try reader.bytes("enc"), ciphertext: try reader.bytes("ct"))
                guard try reader.text("suite") == HPKE.suite,
                    sealed.encapsulatedKey.count == HPKE.encapsulatedBytes,
                    sealed.ciphertext.count == ChunkedEncryption.keyBytes + AES256GCM.tagBytes
                else { throw SealingError(.badRecipients, "an hpke recipient has another suite or wrong lengths") }
                result.append(.hpke(keyID: try reader.digest("kid"), sealed: sealed))
            case "a256kw":
                try reader.only(["type", "kekUri", "wrapped"])
                let wrapped = try reader.bytes("wrapped")
                guard wrapped.count == ChunkedEncryption.keyBytes + AESKeyWrap.overheadBytes else {
                    throw SealingError(.badRecipients, "a wrapped data key has 40 bytes, not \(wrapped.count)")
                }
                result.append(.keyWrap(kekURI: try reader.text("kekUri"), wrapped: wrapped))
            case let type: throw SealingError(.badRecipients, "the recipient type '\(type)' is unknown")
            }
        }
        return result
    }
}

/// The key that a container's payload is encrypted with.
public typealias DataKey = SecretBytes

extension SecretBytes {
    /// A new data key.
    public static func makeDataKey() throws -> SecretBytes {
        var key = try SecretBytes(byteCount: ChunkedEncryption.keyBytes)
        try key.withMutableBytes { try SecureRandom.fill(&$0) }
        return key
    }
}
