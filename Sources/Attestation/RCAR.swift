// RCAR: names and texts of the protocol between a consumer and a key broker, version 0.4.0.

import Sealing

/// The request-challenge-attestation-response protocol of the Confidential Containers key broker service.
public enum RCAR {
    public static let version = "0.4.0"
    public static let root = "/kbs/v0"
    public static let cookie = "kbs-session-id"
    public static let problemRoot = "https://github.com/confidential-containers/kbs/errors/"
    public static let responseBytesMax = 4 << 20
    public static let nonceBytes = 32
    public static let keyAlgorithm = "ECDH-ES+A256KW"

    /// The path of a `kbs:///repository/type/tag`, or nil when the text is not one.
    public static func path(of uri: String) -> (repository: String, type: String, tag: String)? {
        guard uri.hasPrefix("kbs:///") else { return nil }
        let parts = uri.dropFirst("kbs:///".count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ isName($0) }) else { return nil }
        return (String(parts[0]), String(parts[1]), String(parts[2]))
    }

    /// Letters, digits, `.`, `_`, `-`; no way up a folder.
    public static func isName(_ text: Substring) -> Bool {
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                || [0x2e, 0x5f, 0x2d].contains($0)
        }
        return (1...160).contains(text.utf8.count) && allowed && text.utf8.first != 0x2e
    }
}
