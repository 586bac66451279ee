// ModelUnsealBenchCommand: `penstock model bench-unseal` and `bench-start` measure opening a sealed model.

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

    struct BenchStart: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure the time from a process's start to the first prediction of a sealed model.",
            discussion: """
                Starts a key broker; for each size seals a model of dense layers and has a fresh, hardened process verify
                it, attest, get the key, decrypt, load it into the engine and predict one row.

                Example: penstock model bench-start --mebibytes 1,100,1024
                """)

        @Option(help: "Sizes of the model, separated by commas.")
        var mebibytes = "1,100,1024"

        @Option(help: "Runs of each size; the median counts.")
        var runs = 3

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let sizes = mebibytes.split(separator: ",").compactMap { Int($0) }
            guard !sizes.isEmpty, sizes.allSatisfy({ (1...1_536).contains($0) }), (1...100).contains(runs) else {
                throw CommandFailure.usage("--mebibytes: numbers from 1 to 1536, --runs: 1 to 100")
            }
            let benchmark = try StartBenchmark()
            try benchmark.startBroker()
            let results = try sizes.map { try benchmark.measure(mebibytes: $0, runs: runs) }
            if output.isJSON { return try Console.print(json: results) }
            var table = Table(
                .right("MiB"), .right("start to prediction ms"), .right("open"), .right("load"), .right("predict"),
                .left("memory"))
            for result in results {
                func text(_ value: Double) -> String { Numbers.decimal(value, 1) }
                table.add(
                    String(result.mebibytes), text(result.totalMilliseconds), text(result.openMilliseconds),
                    text(result.loadMilliseconds), text(result.predictMilliseconds),
                    result.isLocked ? "locked" : "not locked")
            }
            Console.print(table.text)
        }
    }
}
