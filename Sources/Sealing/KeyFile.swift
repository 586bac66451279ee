// KeyFile: private keys on disk, readable by their owner alone.

public import Cryptography
import FoundationEssentials
import Glibc
import SecureMemory

/// Key files in PEM (PKCS #8) or as a JWK.
public enum KeyFile {
    static let bytesMax = 16_384

    /// Reads a private key. The file must not be readable by others.
    /// - Parameter passphrase: asked for only when the key is protected by one.
    public static func privateKey(_ path: String, passphrase: () throws -> [UInt8]? = { nil }) throws -> ECPrivateKey {
        let file = try SourceFile(path: path, what: "the private key")
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o077 == 0 else {
            throw SealingError(.badKeyFile, "\(path) can be read by others than its owner: chmod 600 \(path)")
        }
        guard (1...bytesMax).contains(file.size) else { throw SealingError(.badKeyFile, "\(path) is no key file") }
        let region = try ProtectedRegion(byteCount: file.size, mode: .bestEffort, isSecret: false)
        try region.withMutableBytes { span in
            try span.withUnsafeMutableBytes { buffer throws(SealingError) in try file.read(at: 0, into: buffer) }
        }
        return try region.withBytes { try parse($0, path: path, passphrase: passphrase) }
    }

    private static func parse(
        _ bytes: RawSpan, path: String, passphrase: () throws -> [UInt8]?
    ) throws -> ECPrivateKey {
        do {
            if bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self) == 0x7b {
                return try JSONWebKey.privateKey(bytes.withUnsafeBytes { Array($0) })
            }
            do throws(CryptographyError) {
                return try ECPrivateKey(pem: bytes)
            } catch {
                guard error.code == .badPassphrase, var text = try passphrase() else { throw error }
                defer { Wipe.array(&text) }
                return try ECPrivateKey(pem: bytes, passphrase: text)
            }
        } catch let error as CryptographyError {
            throw SealingError(.badKeyFile, "\(path): \(error.message)")
        }
    }

    /// Reads a public key in PEM or as a JWK.
    public static func publicKey(_ path: String) throws -> ECPublicKey {
        let file = try SourceFile(path: path, what: "the public key")
        guard (1...bytesMax).contains(file.size) else { throw SealingError(.badKeyFile, "\(path) is no key file") }
        let bytes = try file.bytes(at: 0, count: file.size)
        do {
            if bytes.first == 0x7b { return try JSONWebKey.publicKey(try JSONValue(parsing: bytes)) }
            return try ECPublicKey(pem: String(decoding: bytes, as: UTF8.self))
        } catch let error as CryptographyError {
            throw SealingError(.badKeyFile, "\(path): \(error.message)")
        }
    }

    /// Writes a private key, mode 0600; never over another file.
    public static func write(
        _ key: ECPrivateKey, to path: String, asJWK: Bool = false, passphrase: [UInt8]? = nil
    ) throws {
        guard access(path, F_OK) != 0 else {
            throw SealingError(.cannotWrite, "\(path) exists: a key is never overwritten; name another file")
        }
        if asJWK {
            guard passphrase == nil else {
                throw SealingError(.badKeyFile, "a JWK cannot carry a passphrase: write the key as PEM")
            }
            var bytes = try JSONWebKey.encode(key)
            defer { Wipe.array(&bytes) }
            return try OutputFile.write(to: path, mode: 0o600) { try $0.write(bytes) }
        }
        try key.withPEM(passphrase: passphrase) { pem in
            try OutputFile.write(to: path, mode: 0o600) { try $0.write(pem.withUnsafeBytes { Array($0) }) }
        }
    }

    public static func write(_ key: ECPublicKey, to path: String, asJWK: Bool = false) throws {
        let text = asJWK ? JSONWebKey.json(key).canonicalText + "\n" : try key.pem()
        try OutputFile.write(to: path) { try $0.write(Array(text.utf8)) }
    }
}

/// JSON Web Keys on elliptic curves (RFC 7517, 7518).
public enum JSONWebKey {
    public static func json(_ key: ECPublicKey, algorithm: String? = nil) -> JSONValue {
        var members: [String: JSONValue] = [
            "kty": "EC", "crv": .string(key.curve.rawValue), "x": .string(Base64.encodeURL(key.x)),
            "y": .string(Base64.encodeURL(key.y)),
        ]
        if let algorithm { members["alg"] = .string(algorithm) }
        return .object(members)
    }

    public static func publicKey(_ value: JSONValue) throws -> ECPublicKey {
        guard value["kty"]?.string == "EC", let curve = value["crv"]?.string.flatMap(EllipticCurve.init(rawValue:)),
            let x = value["x"]?.string.flatMap(Base64.decodeURL), let y = value["y"]?.string.flatMap(Base64.decodeURL)
        else { throw SealingError(.badKeyFile, "not an elliptic-curve JWK on P-256 or P-384") }
        return try ECPublicKey(curve, x: x, y: y)
    }

    static func privateKey(_ bytes: [UInt8]) throws -> ECPrivateKey {
        let value = try JSONValue(parsing: bytes)
        let expected = try publicKey(value)
        guard var scalar = value["d"]?.string.flatMap(Base64.decodeURL) else {
            throw SealingError(.badKeyFile, "the JWK holds no private key (`d`)")
        }
        defer { Wipe.array(&scalar) }
        let key = try ECPrivateKey(expected.curve, scalar: scalar.span.bytes)
        guard key.publicKey == expected else {
            throw SealingError(.badKeyFile, "the JWK's private and public parts do not belong together")
        }
        return key
    }

    static func encode(_ key: ECPrivateKey) throws -> [UInt8] {
        var scalar = [UInt8](repeating: 0, count: key.curve.coordinateBytes)
        defer { Wipe.array(&scalar) }
        var span = scalar.mutableSpan
        var bytes = span.mutableBytes
        try key.copyScalar(into: &bytes)
        var members = json(key.publicKey, algorithm: nil).object ?? [:]
        members["d"] = .string(Base64.encodeURL(scalar))
        return JSONValue.object(members).canonical
    }
}
