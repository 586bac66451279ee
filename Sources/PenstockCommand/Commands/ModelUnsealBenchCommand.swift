// ModelUnsealBenchCommand: `penstock model bench-unseal` measures opening a sealed model.

import ArgumentParser
import Foundation

extension ModelCommand {
    struct BenchUnseal: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure how fast a sealed model is decrypted and verified, beside the machine's bound.",
            discussion: """
                The bound is AES-256-GCM and SHA-256 one after the other on one core, as `openssl speed` measures them in
                the same run.

                Example: penstock model bench-unseal --mebibytes 256
                """)

        @Option(help: "Size of the model.")
        var mebibytes = 256

        @Option(help: "Runs; the best counts.")
        var runs = 5

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            guard (1...4_096).contains(mebibytes), (1...100).contains(runs) else {
                throw CommandFailure.usage("--mebibytes: 1 to 4096, --runs: 1 to 100")
            }
            let result = try UnsealingBenchmark.run(bytes: mebibytes << 20, runs: runs)
            if output.isJSON { return try Console.print(json: result) }
            func rate(_ value: Double) -> String { "\(Numbers.decimal(value / 1e9, 2)) GB/s" }
            Console.print("AES-256-GCM     \(rate(result.cipherBytesPerSecond))")
            Console.print("SHA-256         \(rate(result.digestBytesPerSecond))")
            Console.print("both in series  \(rate(result.boundBytesPerSecond))")
            Console.print(
                "unsealed        \(rate(result.unsealBytesPerSecond)), \(Numbers.decimal(result.ratio * 100, 0)) % of it"
                    + (result.isLocked ? ", locked" : ", not locked (limit of lockable memory)"))
        }
    }
}
