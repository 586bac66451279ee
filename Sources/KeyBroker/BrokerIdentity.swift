// BrokerIdentity: the keys and the certificate that a broker makes for itself at its first start.

package import Cryptography
import FoundationEssentials
import Glibc
import Sealing

/// `signing.pem` (P-384, tokens and audit), `tls.pem` (P-256) and `certificate.pem` in the broker's folder.
package enum BrokerIdentity {
    static let days = 825

    package static func certificatePath(_ folder: String) -> String { "\(folder)/certificate.pem" }
    package static func keyPath(_ folder: String) -> String { "\(folder)/tls.pem" }
    package static func signerPath(_ folder: String) -> String { "\(folder)/signing.pem" }

    /// Loads what is there and makes what is not. The folder is the broker's alone.
    package static func prepare(_ folder: String) throws -> ECPrivateKey {
        _ = SecureHeap.state
        for path in [folder, "\(folder)/owners", "\(folder)/store"] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        if access(certificatePath(folder), F_OK) != 0 || access(keyPath(folder), F_OK) != 0 {
            unlink(keyPath(folder))
            let key = try ECPrivateKey(generating: .p256)
            try KeyFile.write(key, to: keyPath(folder))
            let certificate = try SelfSignedCertificate.make(
                for: key, commonName: "penstock key-broker", names: ["DNS:localhost", "IP:127.0.0.1"], days: days)
            try OutputFile.write(to: certificatePath(folder)) { try $0.write(Array(certificate.utf8)) }
        }
        if access(signerPath(folder), F_OK) != 0 {
            let key = try ECPrivateKey(generating: .p384)
            try KeyFile.write(key, to: signerPath(folder))
            try KeyFile.write(key.publicKey, to: "\(folder)/signing.pub.pem")
            return key
        }
        return try KeyFile.privateKey(signerPath(folder))
    }
}
