// Evidence: what a consumer shows a key broker about itself.

import Cryptography
public import Sealing

/// Makes evidence for 64 bytes of report data.
public protocol EvidenceProvider: Sendable {
    /// The TEE's name in RCAR, such as `snp` or `sample`.
    var tee: String { get }
    /// True when the evidence proves nothing.
    var isInsecure: Bool { get }
    func evidence(reportData: [UInt8]) throws -> JSONValue
}

/// Report data as RCAR 0.4.0 wants it.
public enum ReportData {
    public static let byteCount = 64

    /// SHA-384 of the canonical `{"additional-evidence","nonce","tee-pubkey"}`, padded with zeros to 64 bytes.
    public static func make(nonce: String, publicKey: JSONValue, additional: String = "") throws -> [UInt8] {
        let bound: JSONValue = [
            "additional-evidence": .string(additional), "nonce": .string(nonce), "tee-pubkey": publicKey,
        ]
        return try DigestAlgorithm.sha384.digest(bound.canonical) + [UInt8](repeating: 0, count: 16)
    }
}

/// The provider `sample` of RCAR: it proves nothing at all, for development without the hardware. It is never chosen by
/// itself: the consumer, the key broker and the model's owner must each have said yes.
public struct SampleEvidenceProvider: EvidenceProvider {
    public static let tee = "sample"
    public var tee: String { Self.tee }
    public var isInsecure: Bool { true }

    /// - Parameter isAllowed: the consumer's explicit opt-in.
    public init(isAllowed: Bool) throws(AttestationError) {
        guard isAllowed else {
            throw AttestationError(
                .evidence,
                "the attestation provider `sample` proves nothing and needs --insecure-sample-attestation; "
                    + "there is no fall-back to it")
        }
    }

    public func evidence(reportData: [UInt8]) throws -> JSONValue {
        ["svn": "1", "report_data": .string(Base64.encode(reportData))]
    }
}
