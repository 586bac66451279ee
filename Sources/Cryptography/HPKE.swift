// HPKE: RFC 9180, base mode, DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM.

import COpenSSL

/// Hybrid public-key encryption of one short message, the suite `P384_SHA384_AES_GCM_256`.
public enum HPKE {
    /// KEM 0x0011, KDF 0x0002, AEAD 0x0002.
    public static let suite = "P384_SHA384_AES_GCM_256"
    /// Bytes of the encapsulated key: an uncompressed P-384 point.
    public static let encapsulatedBytes = 97
    private static let kemSuite = Array("KEM".utf8) + [0x00, 0x11]
    private static let suiteIdentifier = Array("HPKE".utf8) + [0x00, 0x11, 0x00, 0x02, 0x00, 0x02]
    private static let algorithm = DigestAlgorithm.sha384

    /// A message and the encapsulated key that opens it.
    public struct Sealed: Sendable, Equatable {
        public var encapsulatedKey: [UInt8]
        public var ciphertext: [UInt8]

        public init(encapsulatedKey: [UInt8], ciphertext: [UInt8]) {
            self.encapsulatedKey = encapsulatedKey
            self.ciphertext = ciphertext
        }
    }

    public static func seal(
        _ message: RawSpan, to recipient: ECPublicKey, info: [UInt8], associatedData: [UInt8] = []
    ) throws(CryptographyError) -> Sealed {
        let ephemeral = try ECPrivateKey(generating: .p384)
        let encapsulated = ephemeral.publicKey.uncompressed
        var ciphertext = [UInt8](repeating: 0, count: message.byteCount + AES256GCM.tagBytes)
        var keys = try schedule(ephemeral, recipient, context: encapsulated + recipient.uncompressed, info: info)
        defer { Wipe.array(&keys) }
        let cipher = unsafe try AES256GCM(key: keys.span.bytes.extracting(0..<32), .seal)
        var outputElements = ciphertext.mutableSpan
        var output = unsafe outputElements.mutableBytes
        unsafe try cipher.seal(
            message, nonce: keys.span.bytes.extracting(32..<44), associatedData: associatedData.span.bytes,
            into: &output)
        return Sealed(encapsulatedKey: encapsulated, ciphertext: ciphertext)
    }

    /// Opens into `output`, 16 bytes shorter than the ciphertext.
    public static func open(
        _ sealed: Sealed, with recipient: ECPrivateKey, info: [UInt8], associatedData: [UInt8] = [],
        into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        guard sealed.encapsulatedKey.count == encapsulatedBytes else {
            throw CryptographyError(
                .badInput, "an encapsulated key has \(encapsulatedBytes) bytes, not \(sealed.encapsulatedKey.count)")
        }
        let sender = try ECPublicKey(.p384, uncompressed: sealed.encapsulatedKey)
        let context = sealed.encapsulatedKey + recipient.publicKey.uncompressed
        var keys = try schedule(recipient, sender, context: context, info: info)
        defer { Wipe.array(&keys) }
        let cipher = unsafe try AES256GCM(key: keys.span.bytes.extracting(0..<32), .open)
        unsafe try cipher.open(
            sealed.ciphertext.span.bytes, nonce: keys.span.bytes.extracting(32..<44),
            associatedData: associatedData.span.bytes, into: &output)
    }

    /// Key (32 bytes) and base nonce (12) of the one message, RFC 9180 4.1 and 5.1.
    private static func schedule(
        _ own: ECPrivateKey, _ other: ECPublicKey, context: [UInt8], info: [UInt8]
    ) throws(CryptographyError) -> [UInt8] {
        guard own.curve == .p384, other.curve == .p384 else {
            throw CryptographyError(.badKey, "HPKE keys are on P-384")
        }
        var secret = [UInt8](repeating: 0, count: 48)
        defer { Wipe.array(&secret) }
        try own.agree(with: other, into: &secret)
        var extracted = try extract(kemSuite, salt: [], "eae_prk", secret)
        defer { Wipe.array(&extracted) }
        var shared = try expand(kemSuite, extracted, "shared_secret", context, count: 48)
        defer { Wipe.array(&shared) }

        let pskHash = try extract(suiteIdentifier, salt: [], "psk_id_hash", [])
        let infoHash = try extract(suiteIdentifier, salt: [], "info_hash", info)
        // Mode 0: base.
        let scheduleContext = [0x00] + pskHash + infoHash
        var master = try extract(suiteIdentifier, salt: shared, "secret", [])
        defer { Wipe.array(&master) }
        var key = try expand(suiteIdentifier, master, "key", scheduleContext, count: 32)
        defer { Wipe.array(&key) }
        return key + (try expand(suiteIdentifier, master, "base_nonce", scheduleContext, count: 12))
    }

    private static let version = Array("HPKE-v1".utf8)

    private static func extract(
        _ suite: [UInt8], salt: [UInt8], _ label: String, _ secret: [UInt8]
    ) throws(CryptographyError) -> [UInt8] {
        var labelled = version + suite + Array(label.utf8) + secret
        defer { Wipe.array(&labelled) }
        var result = [UInt8](repeating: 0, count: algorithm.byteCount)
        var elements = result.mutableSpan
        var output = unsafe elements.mutableBytes
        try HKDF.extract(algorithm, salt: salt, secret: unsafe labelled.span.bytes, into: &output)
        return result
    }

    private static func expand(
        _ suite: [UInt8], _ key: [UInt8], _ label: String, _ info: [UInt8], count: Int
    ) throws(CryptographyError) -> [UInt8] {
        let labelled = [UInt8(count >> 8), UInt8(count & 255)] + version + suite + Array(label.utf8) + info
        var result = [UInt8](repeating: 0, count: count)
        var elements = result.mutableSpan
        var output = unsafe elements.mutableBytes
        try HKDF.expand(algorithm, key: unsafe key.span.bytes, info: labelled, into: &output)
        return result
    }
}

extension ECPrivateKey {
    fileprivate func agree(with other: ECPublicKey, into output: inout [UInt8]) throws(CryptographyError) {
        var spanElements = output.mutableSpan
        var span = unsafe spanElements.mutableBytes
        try agree(with: other, into: &span)
    }
}
