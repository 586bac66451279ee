// ModelKeygenCommand: `penstock model keygen` makes an owner's or a trainer's key pair.

import ArgumentParser
import Cryptography
import Foundation
import Sealing

extension ModelCommand {
    struct Keygen: ParsableCommand {
        enum Form: String, CaseIterable, ExpressibleByArgument { case pem, jwk }

        static let configuration = CommandConfiguration(
            abstract: "Make a key pair for signing and sealing models.",
            discussion: """
                Writes the private key (P-384, mode 0600) to FILE and the public one beside it as FILE.pub. An existing
                file is never overwritten. With --passphrase the private key is encrypted; the passphrase comes from
                PENSTOCK_PASSPHRASE or the terminal.

                Example: penstock model keygen owner.pem
                """)

        @Argument(help: "File for the private key.")
        var file: String

        @Option(help: "Form of the files: pem or jwk.")
        var form = Form.pem

        @Flag(help: "Protect the private key by a passphrase.")
        var passphrase = false

        @OptionGroup var output: OutputOption

        private struct Result: Encodable {
            var keyID: String
            var privateKey: String
            var publicKey: String
        }

        mutating func run() throws {
            _ = SecureHeap.state
            var text: [UInt8]?
            if passphrase {
                text = try Passphrase.fromEnvironment()
                guard let text, text.count >= 8 else {
                    throw CommandFailure.usage(
                        "--passphrase needs one of 8 bytes or more, from \(Passphrase.variable) or a terminal")
                }
            }
            let key = try ECPrivateKey(generating: .p384)
            try KeyFile.write(key, to: file, asJWK: form == .jwk, passphrase: text)
            let publicPath = "\(file).pub"
            try KeyFile.write(key.publicKey, to: publicPath, asJWK: form == .jwk)
            let result = Result(keyID: key.publicKey.keyID, privateKey: file, publicKey: publicPath)
            if output.isJSON { return try Console.print(json: result) }
            Console.print("key id   \(result.keyID)")
            Console.print("private  \(file) (mode 0600)")
            Console.print("public   \(publicPath)")
        }
    }
}
