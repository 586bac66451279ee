// JSONWebSignature: compact JWS (RFC 7515) with ES384, for release documents, tokens and requests.

public import Cryptography

/// A compact JWS whose signature is not yet checked.
public struct JSONWebSignature: Sendable {
    public static let bytesMax = 256 << 10

    public let header: JSONValue
    public let payload: JSONValue
    public let payloadBytes: [UInt8]
    private let signed: [UInt8]
    private let signature: [UInt8]

    /// Reads the three parts; only `alg` ES384 is accepted.
    public init(compact text: String) throws(SealingError) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard text.utf8.count <= Self.bytesMax, parts.count == 3, let head = Base64.decodeURL(parts[0]),
            let payload = Base64.decodeURL(parts[1]), let signature = Base64.decodeURL(parts[2])
        else { throw SealingError(.badDocument, "not a compact JWS") }
        header = try JSONValue(parsing: head)
        guard header["alg"]?.string == "ES384", header["crit"] == nil, header["b64"] == nil else {
            throw SealingError(.badDocument, "the signature's algorithm must be ES384, without extensions")
        }
        self.payload = try JSONValue(parsing: payload)
        payloadBytes = payload
        signed = Array("\(parts[0]).\(parts[1])".utf8)
        self.signature = signature
    }

    public var keyID: String? { header["kid"]?.string }
    public var type: String? { header["typ"]?.string }

    public func verifies(with key: ECPublicKey) -> Bool { key.curve == .p384 && key.verifies(signature, signed) }

    public static func sign(
        _ payload: JSONValue, type: String, with key: ECPrivateKey, header extra: [String: JSONValue] = [:]
    ) throws -> String {
        guard key.curve == .p384 else { throw SealingError(.badKeyFile, "a signing key is on P-384") }
        var header: [String: JSONValue] = ["alg": "ES384", "typ": .string(type), "kid": .string(key.publicKey.keyID)]
        header.merge(extra) { _, new in new }
        let text = Base64.encodeURL(JSONValue.object(header).canonical) + "." + Base64.encodeURL(payload.canonical)
        return text + "." + Base64.encodeURL(try key.sign(Array(text.utf8)))
    }

    /// Signs a payload that holds a key: no copy of it is left behind but the result, which the caller wipes.
    static func sign(payload: [UInt8], type: String, with key: ECPrivateKey) throws -> [UInt8] {
        guard key.curve == .p384 else { throw SealingError(.badKeyFile, "a signing key is on P-384") }
        let header: JSONValue = ["alg": "ES384", "typ": .string(type), "kid": .string(key.publicKey.keyID)]
        let head = Array((Base64.encodeURL(header.canonical) + ".").utf8)
        let payloadText = (payload.count * 4 + 2) / 3
        let signatureText = (2 * key.curve.coordinateBytes * 4 + 2) / 3
        // Exactly as long as the result, so that nothing moves while it is filled.
        var result = head + [UInt8](repeating: 0x2e, count: payloadText + 1 + signatureText)
        var span = result.mutableSpan
        var bytes = span.mutableBytes
        Base64.encodeURL(payload.span.bytes, into: &bytes, at: head.count)
        let signature = try key.sign(bytes.bytes.extracting(0..<head.count + payloadText))
        Base64.encodeURL(signature.span.bytes, into: &bytes, at: head.count + payloadText + 1)
        return result
    }
}
