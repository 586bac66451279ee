// ModelCommandTests: `penstock model inspect | run | bench` on models made elsewhere, with files as NumPy writes them.

import Foundation
import ProcessControl
import TestSupport
import Testing

@Suite("penstock model")
struct ModelCommandTests {
    /// What ONNX Runtime gives for 64 rows of 30 features (Tests/InferenceTests/Fixtures).
    private struct Reference: Decodable {
        struct Output: Decodable {
            var name: String
            var floats: [Float]?
            var integers: [Int64]?
        }

        var rows: Int
        var input: [Float]
        var outputs: [Output]

        var width: Int { input.count / rows }
    }

    private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "InferenceTests/Fixtures").path

    private static func reference(_ name: String) throws -> Reference {
        try JSONDecoder().decode(
            Reference.self, from: Data(contentsOf: URL(filePath: "\(fixtures)/\(name)_ref.json")))
    }

    private struct Outcome {
        var status: ChildProcess.ExitStatus?
        var text: String
    }

    private static func model(_ arguments: [String], in directory: TemporaryDirectory) async throws -> Outcome {
        let output = directory.file("output-\(UInt32.random(in: 0...UInt32.max))")
        let child = try TestProgram.start(
            "penstock", ["model"] + arguments, environment: ["NO_COLOR": "1"], outputPath: output)
        defer { child.kill() }
        let status = try await TestProgram.waitFor(timeoutMilliseconds: 60_000) { child.exitStatus }
        return Outcome(status: status, text: TestProgram.contents(of: output) ?? "")
    }

    // MARK: Files as NumPy writes them

    /// A float32 matrix in .npy format 1.0: magic, version, header padded to 64 bytes, elements in C order.
    private static func npy(_ values: [Float], rows: Int) -> [UInt8] {
        var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows), \(values.count / rows)), }"
        while (10 + header.utf8.count + 1) % 64 != 0 { header += " " }
        header += "\n"
        var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
        bytes += [UInt8(header.utf8.count & 0xff), UInt8(header.utf8.count >> 8)] + Array(header.utf8)
        for value in values { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
        return bytes
    }

    /// The float32 elements of a .npy file, read without the code that wrote it.
    private static func floats(npy path: String) throws -> [Float] {
        let bytes = Array(try Data(contentsOf: URL(filePath: path)))
        try #require(bytes.starts(with: [0x93] + Array("NUMPY".utf8)))
        let start = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
        #expect(start % 64 == 0)
        return stride(from: start, to: bytes.count - 3, by: 4).map { place in
            Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << UInt32(8 * $1) })
        }
    }

    private static func write(_ bytes: [UInt8], _ path: String) throws {
        try Data(bytes).write(to: URL(filePath: path))
    }

    private static func expectClose(_ found: [Float], _ expected: [Float]) {
        #expect(found.count == expected.count)
        for (found, expected) in zip(found, expected) {
            #expect(abs(found - expected) <= 1e-5 * max(1, abs(expected)))
        }
    }

    // MARK: Tests

    @Test("run: a .npy file in, a .npy file out, as ONNX Runtime computes it")
    func runsArrays() async throws {
        let directory = try TemporaryDirectory()
        let reference = try Self.reference("b_mlp_30_64_64_2")
        let (rows, scores) = (directory.file("rows.npy"), directory.file("scores.npy"))
        try Self.write(Self.npy(reference.input, rows: reference.rows), rows)
        let outcome = try await Self.model(
            ["run", "\(Self.fixtures)/b_mlp_30_64_64_2.onnx", rows, "--to", scores], in: directory)
        #expect(outcome.status == .exited(0), "\(outcome.text)")
        #expect(outcome.text.contains("[64, 2]"))
        Self.expectClose(try Self.floats(npy: scores), reference.outputs[0].floats ?? [])
    }

    @Test("run: a CSV file in, a CSV file with a column for each output out; a .npz of it is read again")
    func runsTables() async throws {
        let directory = try TemporaryDirectory()
        let reference = try Self.reference("a_scaler_logreg")
        let header = (0..<reference.width).map { "f\($0)" }.joined(separator: ",")
        let records = (0..<reference.rows).map { row in
            reference.input[row * reference.width..<(row + 1) * reference.width].map { "\($0)" }.joined(separator: ",")
        }
        let rows = directory.file("rows.csv")
        try Self.write(Array(([header] + records).joined(separator: "\n").utf8), rows)
        let model = "\(Self.fixtures)/a_scaler_logreg.onnx"
        let table = directory.file("out.csv")
        let outcome = try await Self.model(["run", model, rows, "--to", table], in: directory)
        #expect(outcome.status == .exited(0), "\(outcome.text)")
        let lines = try #require(TestProgram.contents(of: table)).split(separator: "\n")
        let cells = lines.map { $0.split(separator: ",") }
        #expect(cells.count == reference.rows + 1)
        let labels = try #require(reference.outputs.first { $0.integers != nil }?.integers)
        let scores = try #require(reference.outputs.first { $0.floats != nil }?.floats)
        #expect(cells.dropFirst().compactMap { Int64($0[0]) } == labels)
        Self.expectClose(cells.dropFirst().flatMap { $0.dropFirst().compactMap { Float($0) } }, scores)

        let archive = directory.file("out.npz")
        let written = try await Self.model(
            ["run", model, rows, "--to", archive, "--output", "json"], in: directory)
        #expect(written.status == .exited(0), "\(written.text)")
        #expect(written.text.contains("\"label\""))
        let bytes = Array(try Data(contentsOf: URL(filePath: archive)))
        // ZIP: a local header first, the end of the central directory last (APPNOTE 4.3.7 and 4.3.16).
        #expect(bytes.starts(with: [0x50, 0x4b, 3, 4]) && bytes.suffix(22).starts(with: [0x50, 0x4b, 5, 6]))
    }

    @Test("bench: each batch size has a median, a p99 and rows a second")
    func measures() async throws {
        struct Report: Decodable {
            struct Row: Decodable {
                var batch: Int
                var medianMicroseconds: Double
                var p99Microseconds: Double
                var rowsPerSecond: Double
            }

            var results: [Row]
        }
        let directory = try TemporaryDirectory()
        let outcome = try await Self.model(
            [
                "bench", "\(Self.fixtures)/b_mlp_30_64_64_2.onnx", "--batch", "1,32", "--seconds", "0.05", "--output",
                "json",
            ], in: directory)
        #expect(outcome.status == .exited(0), "\(outcome.text)")
        let json = outcome.text.drop { $0 != "{" }
        let report = try JSONDecoder().decode(Report.self, from: Data(json.utf8))
        #expect(report.results.map(\.batch) == [1, 32])
        for row in report.results {
            #expect(row.medianMicroseconds > 0 && row.p99Microseconds >= row.medianMicroseconds)
            #expect(row.rowsPerSecond > 0)
        }
    }

    @Test("inspect names inputs, outputs and producer of an ONNX file")
    func inspects() async throws {
        let directory = try TemporaryDirectory()
        let outcome = try await Self.model(
            ["inspect", "\(Self.fixtures)/a_scaler_logreg.onnx"], in: directory)
        #expect(outcome.status == .exited(0), "\(outcome.text)")
        for name in ["label: int64", "probabilities: float", "X: float [?, 30]", "skl2onnx"] {
            #expect(outcome.text.contains(name), "\(name)")
        }
    }

    @Test(
        "What does not fit is one clear message and a status",
        arguments: [
            (["run", "MODEL", "ROWS.txt", "--to", "DIR/x.npz"], "ROWS.txt"),
            (["run", "MODEL", "BAD.npy", "--to", "DIR/x.npz"], "not a NumPy array"),
            (["run", "MODEL", "SHORT.npy", "--to", "DIR/x.npz"], "SHORT.npy"),
            (["run", "MODEL", "GOOD.npy", "--to", "DIR/x.txt"], ".csv, .npy or .npz"),
            (["run", "MODEL", "GOOD.npy"], "--to"),
            (["run", "MODEL", "NARROW.npy", "--to", "DIR/x.npz"], "30"),
            (["run", "MISSING.onnx", "GOOD.npy", "--to", "DIR/x.npz"], "MISSING.onnx"),
            (["run", "BAD.npy.onnx", "GOOD.npy", "--to", "DIR/x.npz"], "ONNX"),
            (["bench", "MODEL", "--batch", "0"], "--batch"),
            (["bench", "MODEL", "--batch", "1", "--threads", "0"], "--threads"),
        ])
    func refuses(arguments: [String], expected: String) async throws {
        let directory = try TemporaryDirectory()
        let values = [Float](repeating: 0.5, count: 60)
        try Self.write(Self.npy(values, rows: 2), directory.file("GOOD.npy"))
        try Self.write(Self.npy(Array(values.prefix(8)), rows: 2), directory.file("NARROW.npy"))
        try Self.write(Array(Self.npy(values, rows: 2).dropLast(17)), directory.file("SHORT.npy"))
        try Self.write(Array("no array".utf8) + [0, 0, 0, 0, 0, 0, 0, 0], directory.file("BAD.npy"))
        try Self.write(Array("no model".utf8), directory.file("BAD.npy.onnx"))
        let resolved = arguments.map { argument in
            if argument == "MODEL" { return "\(Self.fixtures)/b_mlp_30_64_64_2.onnx" }
            if argument.hasPrefix("DIR/") { return directory.file(String(argument.dropFirst(4))) }
            return argument.first?.isUppercase == true ? directory.file(argument) : argument
        }
        let outcome = try await Self.model(resolved, in: directory)
        guard case .exited(let status)? = outcome.status else {
            Issue.record("ended with \(String(describing: outcome.status)): \(outcome.text)")
            return
        }
        #expect(status != 0, "\(outcome.text)")
        #expect(outcome.text.contains(expected), "\(outcome.text)")
        #expect(!FileManager.default.fileExists(atPath: directory.file("x.npz")))
    }
}
