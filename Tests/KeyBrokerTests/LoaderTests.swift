// LoaderTests: a consumer opens a model through a broker over HTTPS, and what stops it.

import Attestation
import Cryptography
import Foundation
import Inference
import KeyBroker
import SealedModels
import SecureMemory
import Testing

@testable import Sealing

@Suite("Opening through a key broker")
struct LoaderTests {
    private static let manifest = #"""
        {"format":1,"name":"tiny","version":"1","contract":"0123456789abcdef","features":["a"],"onnx":"model.onnx",
        "onnxSHA256":"\#(String(repeating: "0", count: 64))","outputs":{"score":"p"},"threshold":0.5,"metrics":{}}
        """#

    private func container(_ bench: Bench, _ sealer: ModelSealer) throws -> String {
        let path = bench.folder.file("model.smc")
        _ = try sealer.seal(
            [
                SealedInput(name: "model.json", bytes: Array(Self.manifest.utf8)),
                SealedInput(name: "model.onnx", bytes: [UInt8](repeating: 9, count: 20_000)),
            ], name: "tiny", version: "1", serial: 5,
            usage: .init(allow: [.inference], resealTo: []), to: path)
        return path
    }

    private func loader(_ bench: Bench, port: Int, serialMin: Int64 = 0) throws -> SealedModelLoader {
        let client = try KeyBrokerClient(
            address: try BrokerAddress("https://127.0.0.1:\(port)"),
            certificatePath: BrokerIdentity.certificatePath(bench.brokerFolder),
            provider: try SampleEvidenceProvider(isAllowed: true))
        let clock = bench.clock
        return SealedModelLoader(
            SealedModelAccess(
                broker: client, owners: TrustedOwners([bench.owner.publicKey]), usage: .inference,
                lockMode: .bestEffort, serialMin: serialMin), clock: { clock.now })
    }

    private func serve(_ bench: Bench) async throws -> KeyBrokerServer {
        let clock = bench.clock
        return try await KeyBrokerServer.start(
            bench.service, host: "127.0.0.1", port: 0,
            tls: (
                certificate: BrokerIdentity.certificatePath(bench.brokerFolder),
                key: BrokerIdentity.keyPath(bench.brokerFolder)
            ), clock: { clock.now })
    }

    @Test("Registered, attested, released, decrypted; then revoked")
    func wholeWay() async throws {
        let bench = try Bench()
        let server = try await serve(bench)
        let sealer = try bench.sealer()
        let path = try container(bench, sealer)
        let loader = try loader(bench, port: server.port)
        try await onBlockingThread {
            let sealed = try SealedContainer(path: path, trusting: TrustedOwners([bench.owner.publicKey]))
            #expect(throws: AttestationError.self, "nothing is registered") { _ = try loader.open(path) }
            try sealer.registerPolicy(at: loader.access.broker)
            try sealer.register(
                sealed.header, headerSHA256: sealed.headerDigest, key: try sealed.dataKey(with: bench.owner),
                at: loader.access.broker, sequence: 10)
            let source = try loader.open(path)
            #expect(source.manifest.name == "tiny" && source.isInsecure && source.terms.leaseSeconds == 60)
            #expect(try source.withModelBytes { $0.byteCount } == 20_000)
            #expect(try loader.renew(path).sequence == 10)
            // A broker whose storage is set back gives an older document than it gave before: it is not believed.
            let place = URL(fileURLWithPath: bench.folder.file("broker/store/acme/dek/tiny-5"))
            let before = try Data(contentsOf: place)
            try sealer.register(
                sealed.header, headerSHA256: sealed.headerDigest, key: try sealed.dataKey(with: bench.owner),
                at: loader.access.broker, sequence: 11)
            #expect(try loader.renew(path).sequence == 11)
            try before.write(to: place)
            let replay = #expect(throws: SealingError.self) { _ = try loader.renew(path) }
            #expect(replay?.code == .rollback)
            // Nor is a document that is older than this consumer accepts.
            var access = loader.access
            access.documentAgeSecondsMax = 60
            let clock = bench.clock
            let strict = SealedModelLoader(access, clock: { clock.now })
            _ = try strict.renew(path)
            bench.clock.advance(61)
            #expect(#expect(throws: SealingError.self) { _ = try strict.renew(path) }?.code == .rollback)
            bench.clock.advance(1)
            try sealer.revoke(sealed.header, headerSHA256: sealed.headerDigest, at: loader.access.broker)
            let refusal = #expect(throws: AttestationError.self) { _ = try loader.renew(path) }
            #expect(refusal?.problem == "ResourceRevoked")
            // The owner sees the refusal; another does not see it.
            let now = bench.clock.now
            let decisions = try loader.access.broker.decisions(owner: "acme", signer: bench.owner, now: now)
            #expect(decisions.last?["event"] == "release.denied" && decisions.last?["outcome"] == "revoked")
            #expect(throws: AttestationError.self) {
                _ = try loader.access.broker.decisions(owner: "acme", signer: bench.trainer, now: now)
            }
            source.wipe()
            #expect(try source.withModelBytes { bytes in bytes.withUnsafeBytes { $0.allSatisfy { $0 == 0 } } })
        }
        await server.shutdown()
    }

    @Test("A lost lease wipes every open model, once the batch in hand is done, and lets no batch begin")
    func lostLease() async throws {
        let bench = try Bench()
        let server = try await serve(bench)
        let sealer = try bench.sealer()
        let path = try container(bench, sealer)
        let loader = try loader(bench, port: server.port)
        try await onBlockingThread {
            let sealed = try SealedContainer(path: path, trusting: TrustedOwners([bench.owner.publicKey]))
            try sealer.registerPolicy(at: loader.access.broker)
            try sealer.register(
                sealed.header, headerSHA256: sealed.headerDigest, key: try sealed.dataKey(with: bench.owner),
                at: loader.access.broker, sequence: 10)
            let models = [try loader.open(path), try loader.open(path)]
            func isWiped(_ model: SealedModelSource) throws -> Bool {
                try model.withModelBytes { bytes in bytes.withUnsafeBytes { $0.allSatisfy { $0 == 0 } } }
            }
            let gate = LeaseGate()
            for model in models { gate.hold(model) }
            #expect(gate.location == path && gate.enter())
            gate.lose("revoked")
            #expect(gate.reason == "revoked")
            for model in models { #expect(try !isWiped(model), "a batch is being processed with it") }
            gate.leave()
            for model in models { #expect(try isWiped(model)) }
            #expect(!gate.enter() && gate.location == nil)
            let again = try loader.open(path)
            gate.hold(again)
            gate.restore()
            #expect(gate.reason == nil && gate.enter())
            gate.leave()
            #expect(try !isWiped(again))
            gate.lose("cut off")
            #expect(try isWiped(again), "no batch is being processed")
        }
        await server.shutdown()
    }

    @Test("Insecure evidence does not open a model whose owner did not accept it; nobody is asked")
    func sampleNotAllowed() throws {
        let bench = try Bench()
        let path = try container(bench, try bench.sealer(sampleAllowed: false))
        // Nothing listens there: the refusal comes before any connection.
        let loader = try loader(bench, port: 9)
        #expect(#expect(throws: SealingError.self) { _ = try loader.open(path) }?.code == .policy)
    }

    @Test("A broker that is down, another certificate, an old serial and a clock set back are each told apart")
    func refusals() async throws {
        let bench = try Bench()
        let server = try await serve(bench)
        let sealer = try bench.sealer()
        let path = try container(bench, sealer)
        let port = server.port
        let old = try loader(bench, port: port, serialMin: 6)
        #expect(throws: SealingError.self) { _ = try old.open(path) }
        let plain = try loader(bench, port: port)
        _ = try plain.verify(path)
        // Within the model's validity before and after, so that only the clock's step back is wrong.
        bench.clock.advance(1_000)
        _ = try plain.verify(path)
        bench.clock.advance(-200)
        _ = try plain.verify(path)
        bench.clock.advance(-200)
        let stepBack = #expect(throws: SealingError.self) { _ = try plain.verify(path) }
        #expect(stepBack?.code == .expired && stepBack?.message.contains("set back by 400 s") == true)
        bench.clock.advance(-600)
        let stranger = try Bench()
        try await onBlockingThread {
            let client = try KeyBrokerClient(
                address: try BrokerAddress("https://127.0.0.1:\(port)"),
                certificatePath: BrokerIdentity.certificatePath(stranger.brokerFolder),
                provider: try SampleEvidenceProvider(isAllowed: true))
            let refusal = #expect(throws: AttestationError.self) {
                _ = try client.release("kbs:///acme/dek/tiny-5", usage: .inference)
            }
            #expect(refusal?.code == .unreachable)
        }
        await server.shutdown()
        let down = try loader(bench, port: port)
        try await onBlockingThread {
            let refusal = #expect(throws: AttestationError.self) { _ = try down.open(path) }
            #expect(refusal?.isTransient == true)
        }
    }

    @Test("A JWE that jwcrypto made opens")
    func foreignEncryption() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "SealingTests/Fixtures/vector.json")
        let vector = try JSONValue(parsing: Array(try Data(contentsOf: path)))
        let scalar = try #require(vector["jwePrivate"]?.string.flatMap(Base64.decodeURL))
        let key = try ECPrivateKey(.p256, scalar: scalar.span.bytes)
        let sealed = try #require(vector["jwe"])
        let text = try JSONWebEncryption.open(sealed, with: key).withBytes { bytes in
            bytes.withUnsafeBytes { Array($0) }
        }
        #expect(String(decoding: text, as: UTF8.self) == vector["jweText"]?.string)
    }

    @Test("A damaged JWE is an error, never a crash, and never another text")
    func damagedEncryption() throws {
        let key = try ECPrivateKey(generating: .p256)
        let sealed = try JSONWebEncryption.seal(Array("secret".utf8).span.bytes, to: key.publicKey).canonical
        var state: UInt64 = 20_261_129
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        for _ in 0..<3_000 {
            var bytes = sealed
            for _ in 0...random(3) where !bytes.isEmpty {
                let place = random(bytes.count)
                switch random(5) {
                case 0: bytes[place] ^= UInt8(1 << random(8))
                case 1: bytes.removeSubrange(place..<min(bytes.count, place + 1 + random(30)))
                case 2: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 20)], at: place)
                case 3: bytes[place] = UInt8(random(256))
                default: bytes = Array(bytes.prefix(place))
                }
            }
            guard let value = try? JSONValue(parsing: bytes), value.canonical != sealed else { continue }
            guard let region = try? JSONWebEncryption.open(value, with: key) else { continue }
            // Base64url has spare bits at its end: another spelling of the same bytes may open.
            #expect(region.withBytes { $0.withUnsafeBytes { Array($0) } } == Array("secret".utf8))
        }
    }

    /// The same content key, the text encrypted anew under another header.
    private static func reseal(_ sealed: JSONValue, _ header: String, _ key: ECPrivateKey) throws -> JSONValue {
        func bytes(_ name: String) throws -> [UInt8] {
            try #require(sealed[name]?.string.flatMap(Base64.decodeURL))
        }
        let protected = try JSONValue(parsing: try bytes("protected"))
        let sender = try JSONWebKey.publicKey(try #require(protected["epk"]))
        func filled(
            _ count: Int, _ body: (inout MutableRawSpan) throws(CryptographyError) -> Void
        ) throws -> [UInt8] {
            let region = try ProtectedRegion(byteCount: count, mode: .off)
            try region.withMutableBytes(body)
            return region.withBytes { bytes in bytes.withUnsafeBytes { Array($0) } }
        }
        let agreed = try filled(32) { output throws(CryptographyError) in try key.agree(with: sender, into: &output) }
        let name = Array("ECDH-ES+A256KW".utf8)
        var derived: [UInt8] = [0, 0, 0, 1]
        derived += agreed
        derived += [0, 0, 0, UInt8(name.count)]
        derived += name
        derived += [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
        let wrapping = try DigestAlgorithm.sha256.digest(derived)
        let (wrapped, nonce) = (try bytes("encrypted_key"), try bytes("iv"))
        let content = try filled(32) { output throws(CryptographyError) in
            try AESKeyWrap.unwrap(wrapped.span.bytes, with: wrapping.span.bytes, into: &output)
        }
        let text = Base64.encodeURL(Array(header.utf8))
        let (plain, data) = (Array("secret".utf8), Array(text.utf8))
        let output = try filled(plain.count + AES256GCM.tagBytes) { output throws(CryptographyError) in
            try AES256GCM(key: content.span.bytes, .seal).seal(
                plain.span.bytes, nonce: nonce.span.bytes, associatedData: data.span.bytes, into: &output)
        }
        var members = try #require(sealed.object)
        members["protected"] = .string(text)
        members["ciphertext"] = .string(Base64.encodeURL(Array(output[..<plain.count])))
        members["tag"] = .string(Base64.encodeURL(Array(output[plain.count...])))
        return .object(members)
    }

    @Test("A JWE with another algorithm, a changed tag, a changed header or a point off the curve does not open")
    func encryption() throws {
        let key = try ECPrivateKey(generating: .p256)
        let sealed = try JSONWebEncryption.seal(Array("secret".utf8).span.bytes, to: key.publicKey)
        let text = try JSONWebEncryption.open(sealed, with: key).withBytes { bytes in
            bytes.withUnsafeBytes { Array($0) }
        }
        #expect(text == Array("secret".utf8))
        let members = try #require(sealed.object)
        let header = String(decoding: try #require(Base64.decodeURL(members["protected"]?.string ?? "")), as: UTF8.self)
        #expect(
            header.hasPrefix(
                "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\""))
        func refused(_ change: (inout [String: JSONValue]) -> Void) -> Bool {
            var changed = members
            change(&changed)
            return (try? JSONWebEncryption.open(.object(changed), with: key)) == nil
        }
        func protected(_ text: String) -> JSONValue { .string(Base64.encodeURL(Array(text.utf8))) }
        // Another algorithm in a header that is authentic, so that nothing but the algorithm is wrong.
        for (old, new) in [("ECDH-ES+A256KW", "RSA1_5"), ("ECDH-ES+A256KW", "none"), ("A256GCM", "A128GCM")] {
            let changed = try Self.reseal(sealed, header.replacingOccurrences(of: old, with: new), key)
            #expect((try? JSONWebEncryption.open(changed, with: key)) == nil, "\(new)")
        }
        let same = try Self.reseal(sealed, header, key)
        #expect(throws: Never.self) { _ = try JSONWebEncryption.open(same, with: key) }
        for (old, new) in [("\"kty\"", "\"Kty\""), ("{\"alg\"", "{ \"alg\"")] {
            #expect(refused { $0["protected"] = protected(header.replacingOccurrences(of: old, with: new)) }, "\(new)")
        }
        #expect(refused { $0["tag"] = .string(Base64.encodeURL([UInt8](repeating: 0, count: 16))) })
        #expect(refused { $0["tag"] = .string(Base64.encodeURL([UInt8](repeating: 0, count: 4))) })
        #expect(refused { $0["aad"] = "AAAA" })
        let other = try ECPrivateKey(generating: .p256).publicKey
        let x = try #require(header.range(of: #""x":"[^"]*""#, options: .regularExpression))
        let off = header.replacingCharacters(in: x, with: "\"x\":\"\(Base64.encodeURL(other.x))\"")
        #expect(refused { $0["protected"] = protected(off) })
        let stranger = try ECPrivateKey(generating: .p256)
        #expect(throws: AttestationError.self) { _ = try JSONWebEncryption.open(sealed, with: stranger) }
    }
}
