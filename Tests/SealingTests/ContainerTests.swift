// ContainerTests: what a sealed model survives and what it must be refused for.

import Cryptography
import Foundation
import Glibc
import SecureMemory
import Testing

@testable import Sealing

@Suite("A sealed container")
struct ContainerTests {
    @Test(
        "comes back as it went in",
        arguments: [[0], [1, 0], [16_384], [16_383, 1, 16_385], [100_000, 5], [4 << 20, 20_000, 0]])
    func roundTrip(sizes: [Int]) throws {
        let sealed = try Sealed(sizes: sizes)
        let model = try sealed.open()
        for (number, size) in sizes.enumerated() {
            let bytes = try #require(try model.copy(of: "f\(number)"))
            #expect(bytes == (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number) })
        }
        #expect(try model.copy(of: "absent") == nil)
    }

    @Test("is refused when any byte before the payload is flipped")
    func flippedFrame() throws {
        let sealed = try Sealed(sizes: [100])
        let original = sealed.bytes
        let end = try sealed.read().frame.payloadOffset
        let step = max(1, end / 400)
        for position in stride(from: 0, to: end, by: step) {
            var bytes = original
            bytes[position] ^= 0x01
            try sealed.write(bytes)
            #expect(throws: (any Error).self, "byte \(position)") { _ = try sealed.open() }
        }
        try sealed.write(original)
        _ = try sealed.open()
    }

    @Test("is refused with a signature of another key, and with a flipped one")
    func signatures() throws {
        let sealed = try Sealed(sizes: [100])
        let stranger = try ECPrivateKey(generating: .p384)
        let header = try sealed.read().frame.header
        // The owner's key id over a stranger's signature.
        var forged = try HeaderSignature.sign(header, with: stranger, isDelegate: false)
        forged.keyID = sealed.owner.publicKey.keyID
        try sealed.reframe { $0.signatures = HeaderSignature.encode([forged]) }
        #expect(code { _ = try sealed.read() } == .badSignature)

        let other = try Sealed(sizes: [100])
        #expect(code { _ = try SealedContainer(path: other.container, trusting: sealed.trust) } == .untrusted)
        // A stranger's own signature, with his key in it: a base model has no delegates.
        let own = try HeaderSignature.sign(try other.read().frame.header, with: stranger, isDelegate: true)
        try other.reframe { $0.signatures = HeaderSignature.encode([own]) }
        #expect(code { _ = try other.read() } == .badSignature)
    }

    @Test("is refused for a header that is not canonical, too long, or says what is unknown")
    func headers() throws {
        let sealed = try Sealed(sizes: [100])
        let header = String(decoding: try sealed.read().frame.header, as: UTF8.self)
        let wrong = [
            " " + header, header.replacingOccurrences(of: "\"serial\":7", with: "\"serial\":7.0"),
            header.replacingOccurrences(of: "\"serial\":7", with: "\"serial\":7e0"),
            header.replacingOccurrences(of: "\"serial\":7", with: "\"serial\":7,\"serial\":7"),
            header.replacingOccurrences(of: "\"export\":\"deny\"", with: "\"export\":\"allow\""),
            header.replacingOccurrences(of: "\"created\"", with: "\"Created\""),
            header.replacingOccurrences(of: "\"path\":\"f0\"", with: "\"path\":\"../f0\""),
            header.replacingOccurrences(of: "\"size\":100", with: "\"size\":101"),
        ]
        for text in wrong {
            #expect(text != header)
            let bytes = Array(text.utf8)
            // Signed by the owner himself: it is the form that is refused.
            let signature = try HeaderSignature.sign(bytes, with: sealed.owner, isDelegate: false)
            let before = sealed.bytes
            try sealed.reframe {
                $0.header = bytes
                $0.signatures = HeaderSignature.encode([signature])
            }
            #expect(code { _ = try sealed.read() } != nil, "\(text)")
            try sealed.write(before)
        }
        var bytes = sealed.bytes
        bytes.replaceSubrange(8..<12, with: [0x00, 0x20, 0x00, 0x00])
        try sealed.write(bytes)
        #expect(code { _ = try sealed.read() } == .badHeader)
        try sealed.write(Array("plain ONNX".utf8))
        #expect(code { _ = try sealed.read() } == .notSealed)
    }

    @Test("is refused when a chunk is flipped: first, middle, last")
    func flippedChunks() throws {
        let sealed = try Sealed(sizes: [40_000])
        let original = sealed.bytes
        let payload = try sealed.read().frame.payloadOffset
        let chunk = ChunkedEncryption.sealedChunkBytes
        for position in [56, 56 + chunk + 5, 56 + 2 * chunk, original.count - payload - 1, 56 + chunk - 1] {
            var bytes = original
            bytes[payload + position] ^= 0x80
            try sealed.write(bytes)
            #expect(code { _ = try sealed.open() } == .corrupt, "payload byte \(position)")
        }
    }

    /// The larger one is hashed on a second thread.
    @Test("is refused when a file does not have the digest of the header", arguments: [100, 5 << 20])
    func wrongDigest(size: Int) throws {
        let sealed = try Sealed(sizes: [size])
        let container = try sealed.read()
        let key = try container.dataKey(with: sealed.owner)
        let plain = try #require(try container.open(with: key, lockMode: .off).copy(of: "f0"))
        // The owner's own signature over another digest, and the payload bound to that header.
        let text = String(decoding: container.frame.header, as: UTF8.self)
        let digest = container.header.files[0].sha256
        let other = digest.hasPrefix("0") ? "1" + digest.dropFirst() : "0" + digest.dropFirst()
        let header = Array(text.replacingOccurrences(of: digest, with: other).utf8)
        let context = try DigestAlgorithm.sha256.digest(header)
        let sealer = try key.withBytes { try ChunkedEncryption.Sealer(key: $0, context: context) }
        var payload = sealer.prefix
        try sealer.add(plain.span.bytes) { payload += $0 }
        try sealer.finish { payload += $0 }
        var frame = container.frame
        frame.header = header
        frame.signatures = HeaderSignature.encode([
            try HeaderSignature.sign(header, with: sealed.owner, isDelegate: false)
        ])
        try sealed.write(frame.encoded() + payload)
        #expect(code { _ = try sealed.read().open(with: key, lockMode: .off) } == .corrupt)
    }

    @Test("is refused when it is cut anywhere, added to, or its chunks are swapped")
    func cutAndSwapped() throws {
        let sealed = try Sealed(sizes: [40_000])
        let original = sealed.bytes
        let payload = try sealed.read().frame.payloadOffset
        let chunk = ChunkedEncryption.sealedChunkBytes
        let first = payload + ChunkedEncryption.prefixBytes
        for length in [first + chunk, first + chunk + 7, first + 2 * chunk, original.count - 1, payload + 10] {
            try sealed.write(Array(original[..<length]))
            #expect(code { _ = try sealed.open() } == .truncated, "\(length) bytes")
        }
        try sealed.write(original + [0])
        #expect(code { _ = try sealed.open() } == .truncated)
        var swapped = original
        swapped.replaceSubrange(first..<first + chunk, with: original[first + chunk..<first + 2 * chunk])
        swapped.replaceSubrange(first + chunk..<first + 2 * chunk, with: original[first..<first + chunk])
        try sealed.write(swapped)
        #expect(code { _ = try sealed.open() } == .corrupt)
    }

    @Test("does not take a chunk of another container with the same data key")
    func splicedChunk() throws {
        let folder = try Folder()
        let owner = try ECPrivateKey(generating: .p384)
        let key = try SecretBytes.makeDataKey()
        let input = [SealedInput(name: "f0", bytes: [UInt8](repeating: 3, count: 40_000))]
        for serial: Int64 in [1, 2] {
            try ContainerWriter.seal(
                input, terms: Sealed.terms(serial: serial), key: key, signer: owner, to: folder.file("\(serial).smc"))
        }
        let trust = TrustedOwners([owner.publicKey])
        let (one, two) = (folder.file("1.smc"), folder.file("2.smc"))
        _ = try SealedContainer(path: one, trusting: trust).open(with: key, lockMode: .off)
        var first = Array(try #require(FileManager.default.contents(atPath: one)))
        let second = Array(try #require(FileManager.default.contents(atPath: two)))
        let payload = try SealedContainer(path: one, trusting: trust).frame.payloadOffset
        let range = payload + 56..<payload + 56 + ChunkedEncryption.sealedChunkBytes
        first.replaceSubrange(range, with: second[range])
        try Data(first).write(to: URL(fileURLWithPath: one))
        #expect(
            code { _ = try SealedContainer(path: one, trusting: trust).open(with: key, lockMode: .off) } == .corrupt)
        // The whole payload of the other: its commitment belongs to another header.
        let whole = first[..<payload] + second[payload...]
        try Data(whole).write(to: URL(fileURLWithPath: one))
        #expect(
            code { _ = try SealedContainer(path: one, trusting: trust).open(with: key, lockMode: .off) } == .wrongKey)
    }

    @Test("does not open with the recipient block of another container, another key, or another data key")
    func recipients() throws {
        let (sealed, other) = (try Sealed(sizes: [10]), try Sealed(sizes: [10]))
        let foreign = try other.read().frame.recipients
        let stranger = try ECPrivateKey(generating: .p384)
        #expect(code { _ = try sealed.read().dataKey(with: stranger) } == .wrongKey)
        let key = try SecretBytes.makeDataKey()
        #expect(code { _ = try sealed.read().open(with: key, lockMode: .off) } == .wrongKey)
        try sealed.reframe { $0.recipients = foreign }
        #expect(code { _ = try sealed.read().dataKey(with: sealed.owner) } == .wrongKey)
        // The same owner, the block of his other container: bound to its header.
        let folder = sealed.folder
        let second = folder.file("second.smc")
        let secondKey = try SecretBytes.makeDataKey()
        try ContainerWriter.seal(
            sealed.inputs, terms: Sealed.terms(escrow: [sealed.owner.publicKey], serial: 8), key: secondKey,
            signer: sealed.owner, to: second)
        let block = try SealedContainer(path: second, trusting: sealed.trust).frame.recipients
        let before = sealed.bytes
        try sealed.reframe { $0.recipients = block }
        #expect(code { _ = try sealed.read() } == .badRecipients)
        try sealed.write(before)
        let short = Array(
            "[{\"ct\":\"AAAA\",\"enc\":\"AAAA\",\"kid\":\"\(String(repeating: "a", count: 64))\",\"suite\":\"P384_SHA384_AES_GCM_256\",\"type\":\"hpke\"}]"
                .utf8)
        try sealed.reframe { $0.recipients = short }
        #expect(code { _ = try sealed.read() } == .badRecipients)
    }

    @Test("is refused outside its validity, below the floor and for a use that is not allowed")
    func terms() throws {
        let container = try Sealed(sizes: [10]).read()
        try container.check(now: Sealed.now, usage: .inference, serialMin: 7)
        #expect(code { try container.check(now: Sealed.now - 11, usage: .inference) } == .notYetValid)
        #expect(code { try container.check(now: Sealed.now + 1_001, usage: .inference) } == .expired)
        #expect(code { try container.check(now: Sealed.now, usage: .finetune) } == .usageDenied)
        #expect(code { try container.check(now: Sealed.now, usage: .inference, serialMin: 8) } == .rollback)
    }

    @Test("is not opened by a reader that only looked at it")
    func inspected() throws {
        let sealed = try Sealed(sizes: [10])
        let container = try SealedContainer(inspecting: sealed.container)
        #expect(container.header.name == "tiny")
        #expect(code { _ = try container.dataKey(with: sealed.owner) } == .untrusted)
    }

    @Test("gets other recipients and stays itself")
    func rewrapped() throws {
        let sealed = try Sealed(sizes: [50_000])
        let escrow = try ECPrivateKey(generating: .p384)
        let before = try sealed.read()
        let target = sealed.folder.file("new.smc")
        try ContainerWriter.rewrap(
            before, key: try before.dataKey(with: sealed.owner), escrow: [escrow.publicKey], to: target)
        let after = try SealedContainer(path: target, trusting: sealed.trust)
        #expect(after.frame.header == before.frame.header && after.frame.signatures == before.frame.signatures)
        _ = try after.open(with: try after.dataKey(with: escrow), lockMode: .off)
        #expect(code { _ = try after.dataKey(with: sealed.owner) } == .wrongKey)
    }

    @Test("is not written when a file changes while it is sealed")
    func changedSource() throws {
        let folder = try Folder()
        let owner = try ECPrivateKey(generating: .p384)
        let source = folder.file("weights")
        try Data(count: 3 << 20).write(to: URL(fileURLWithPath: source))
        let target = folder.file("model.smc")
        let key = try SecretBytes.makeDataKey()
        var isTouched = false
        #expect(throws: SealingError.self) {
            try ContainerWriter.seal(
                [SealedInput(name: "weights", path: source)], terms: Sealed.terms(), key: key, signer: owner, to: target
            ) { done, total in
                // After the first pass.
                guard done >= total / 2, !isTouched else { return }
                isTouched = true
                var times = stat()
                stat(source, &times)
                let handle = FileHandle(forWritingAtPath: source)
                handle?.seek(toFileOffset: 2 << 20)
                handle?.write(Data([1]))
                handle?.closeFile()
                // The file's time tells nothing: the second pass's digest does.
                var before = [times.st_atim, times.st_mtim]
                utimensat(AT_FDCWD, source, &before, 0)
            }
        }
        #expect(isTouched && !FileManager.default.fileExists(atPath: target))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["weights"])
    }
}
