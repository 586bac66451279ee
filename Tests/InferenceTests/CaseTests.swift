// CaseTests: ONNX's node tests, and models of common trainers against ONNX Runtime.

import Foundation
import Inference
import Testing

@Suite("The engine agrees with ONNX and ONNX Runtime")
struct CaseTests {
    @Test("Every node test of a listed operator passes or is refused as unsupported; the table in docs is true")
    func nodeTests() throws {
        let cases = try ReferenceCase.load("node-cases.bin")
        #expect(cases.count > 1_000)
        var passed: [String: Int] = [:]
        var unsupported: [String: Int] = [:]
        var reasons: [String] = []
        for test in cases {
            let operation = Self.operation(of: test)
            switch test.outcome(batching: .asDeclared) {
            case .passed: passed[operation, default: 0] += 1
            case .unsupported(let reason):
                unsupported[operation, default: 0] += 1
                reasons.append("\(test.name): \(reason)")
            case .failed(let reason): Issue.record("\(test.name) (\(test.origin)): \(reason)")
            }
        }
        let summary = "\(passed.values.reduce(0, +)) passed, \(unsupported.values.reduce(0, +)) unsupported"
        let page = Fixture.directory.appending(path: "../../../docs/onnx-operators.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        #expect(text.contains(summary), "docs/onnx-operators.md must say: \(summary)")
        if let path = ProcessInfo.processInfo.environment["PENSTOCK_CASE_REPORT"] {
            var lines = [summary]
            for name in Set(passed.keys).union(unsupported.keys).sorted() {
                lines.append("\(name) \(passed[name] ?? 0) \(unsupported[name] ?? 0)")
            }
            try (lines + reasons).joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
        }
        for name in Set(passed.keys).union(unsupported.keys) {
            let cells = "| \(passed[name] ?? 0) | \(unsupported[name] ?? 0) |"
            let line = text.split(separator: "\n").first { $0.hasPrefix("| `\(name)` |") }
            #expect(line?.hasSuffix(cells) ?? false, "docs/onnx-operators.md, \(name): \(cells)")
        }
    }

    /// The operator a test is about: that of its first node that is no constant.
    private static func operation(of test: ReferenceCase) -> String {
        (try? InferenceSession.operators(of: test.model.span.bytes))?.first { $0 != "Constant" } ?? "Constant"
    }

    @Test("Models of scikit-learn, LightGBM, XGBoost and dense networks give ONNX Runtime's outputs")
    func models() throws {
        let cases = try ReferenceCase.load("models.bin")
        #expect(cases.count > 60)
        for test in cases {
            let outcome = test.outcome(batching: .rows)
            #expect(outcome == .passed, "\(test.name): \(outcome)")
        }
    }

    @Test("A row's result has the same bits alone and in any batch")
    func rowsStandAlone() throws {
        for test in try ReferenceCase.load("models.bin") {
            let session = try InferenceSession(test.model.span.bytes)
            let width = session.inputWidth
            guard width > 0 else { continue }
            var random = SeededGenerator(seed: 5)
            let count = 300
            let rows = (0..<count * width).map { _ in Float.random(in: -2...2, using: &random) }
            let whole = session.run(rows, count: count)
            for row in [0, 1, 17, 255, 256, 299] {
                let single = session.run(Array(rows[row * width..<(row + 1) * width]), count: 1)
                for (all, one) in zip(whole.columns, single.columns) where all.width > 0 {
                    let range = row * all.width..<(row + 1) * all.width
                    if !all.floats.isEmpty {
                        #expect(
                            all.floats[range].map(\.bitPattern) == one.floats.map(\.bitPattern),
                            "\(test.name), row \(row)")
                    }
                    if !all.integers.isEmpty { #expect(Array(all.integers[range]) == one.integers, "\(test.name)") }
                }
            }
        }
    }
}
