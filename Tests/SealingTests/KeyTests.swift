// KeyTests: key files, HPKE, key wrap and signatures.

import Cryptography
import Foundation
import Testing

@testable import Sealing

@Suite("Keys")
struct KeyTests {
    @Test("A private key file comes back from PEM, encrypted PEM and JWK, and is its owner's alone")
    func files() throws {
        let folder = try Folder()
        let key = try ECPrivateKey(generating: .p384)
        let secret = Array("correct horse".utf8)
        try KeyFile.write(key, to: folder.file("a.pem"))
        try KeyFile.write(key, to: folder.file("b.pem"), passphrase: secret)
        try KeyFile.write(key, to: folder.file("c.jwk"), asJWK: true)
        for name in ["a.pem", "b.pem", "c.jwk"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.file(name))
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
            let read = try KeyFile.privateKey(folder.file(name)) { secret }
            #expect(read.publicKey == key.publicKey, "\(name)")
            // The scalar, not only the public part.
            #expect(key.publicKey.verifies(try read.sign([1, 2]), [1, 2]), "\(name)")
        }
        #expect(code { _ = try KeyFile.privateKey(folder.file("b.pem")) } == .badKeyFile)
        #expect(code { _ = try KeyFile.privateKey(folder.file("b.pem")) { Array("wrong".utf8) } } == .badKeyFile)
        #expect(code { try KeyFile.write(key, to: folder.file("a.pem")) } == .cannotWrite)
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: folder.file("a.pem"))
        #expect(code { _ = try KeyFile.privateKey(folder.file("a.pem")) } == .badKeyFile)
        for form in [false, true] {
            try KeyFile.write(key.publicKey, to: folder.file("public"), asJWK: form)
            #expect(try KeyFile.publicKey(folder.file("public")) == key.publicKey)
        }
    }

    @Test("A key never shows itself")
    func silent() throws {
        let key = try ECPrivateKey(generating: .p384)
        var text = ""
        dump(key, to: &text)
        #expect(text.split(separator: "\n").count == 1 && Mirror(reflecting: key).children.isEmpty)
    }

    @Test("A point off the curve is refused")
    func offCurve() throws {
        let key = try ECPrivateKey(generating: .p256).publicKey
        var y = key.y
        y[31] ^= 1
        #expect(throws: CryptographyError.self) { try ECPublicKey(.p256, x: key.x, y: y) }
        #expect(throws: CryptographyError.self) { try ECPublicKey(.p384, x: key.x, y: key.y) }
    }

    @Test("HPKE opens for the recipient and the info alone")
    func hpke() throws {
        let recipient = try ECPrivateKey(generating: .p384)
        let message = try SecureRandom.bytes(32)
        let sealed = try HPKE.seal(message.span.bytes, to: recipient.publicKey, info: [1])
        #expect(sealed.encapsulatedKey.count == 97 && sealed.ciphertext.count == 48)
        func open(_ sealed: HPKE.Sealed, _ key: ECPrivateKey, _ info: [UInt8]) throws -> [UInt8] {
            var result = [UInt8](repeating: 0, count: 32)
            var span = result.mutableSpan
            var bytes = span.mutableBytes
            try HPKE.open(sealed, with: key, info: info, into: &bytes)
            return result
        }
        #expect(try open(sealed, recipient, [1]) == message)
        #expect(throws: CryptographyError.self) { try open(sealed, recipient, [2]) }
        #expect(throws: CryptographyError.self) { try open(sealed, ECPrivateKey(generating: .p384), [1]) }
        var broken = sealed
        broken.encapsulatedKey[1] ^= 1
        #expect(throws: CryptographyError.self) { try open(broken, recipient, [1]) }
    }

    /// RFC 3394, 4.6: 256 bits of key data with a 256-bit key.
    @Test("AES key wrap gives RFC 3394's vector")
    func keyWrap() throws {
        let wrapping = try #require(Hex.decode("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
        let key = try #require(Hex.decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"))
        let wrapped = try AESKeyWrap.wrap(key.span.bytes, with: wrapping.span.bytes)
        #expect(
            Hex.encode(wrapped) == "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
    }

    /// RFC 5869, A.1.
    @Test("HKDF gives RFC 5869's vector")
    func hkdf() throws {
        let secret = [UInt8](repeating: 0x0b, count: 22)
        let salt = try #require(Hex.decode("000102030405060708090a0b0c"))
        let info = try #require(Hex.decode("f0f1f2f3f4f5f6f7f8f9"))
        var key = [UInt8](repeating: 0, count: 32)
        var output = [UInt8](repeating: 0, count: 42)
        var keySpan = key.mutableSpan
        var keyBytes = keySpan.mutableBytes
        try HKDF.extract(.sha256, salt: salt, secret: secret.span.bytes, into: &keyBytes)
        var outputSpan = output.mutableSpan
        var outputBytes = outputSpan.mutableBytes
        try HKDF.expand(.sha256, key: key.span.bytes, info: info, into: &outputBytes)
        #expect(
            Hex.encode(output)
                == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    }
}
