// MutationTests: whatever the files hold, the linter answers with diagnostics.

import Foundation
import PipelineContract
import Testing

@Suite("The linter never crashes")
struct MutationTests {
    @Test("Truncated files give errors with a place inside the file", arguments: [true, false])
    func truncations(inSchema: Bool) throws {
        let fixture = try PipelineFixture()
        let text = inSchema ? fixture.schema : fixture.yaml
        for length in stride(from: 0, to: text.count, by: 7) {
            if inSchema {
                fixture.schema = String(text.prefix(length))
            } else {
                fixture.yaml = String(text.prefix(length))
            }
            try check(fixture)
        }
    }

    @Test("Random mutations give diagnostics with a place inside the file", arguments: [true, false])
    func mutations(inSchema: Bool) throws {
        var generator = SplitMix(state: inSchema ? 1 : 2)
        let fixture = try PipelineFixture()
        let text = Array((inSchema ? fixture.schema : fixture.yaml).unicodeScalars)
        let alphabet = Array(
            "{}[]:,-#&*!|>'\"%@`\\ \t\n\r\u{0}\u{7f}\u{85}\u{2028}\u{e000}é😀019.eanull?~<=x".unicodeScalars)
        for _ in 0..<600 {
            var changed = text
            for _ in 0...Int.random(in: 0...6, using: &generator) {
                let place = Int.random(in: 0..<changed.count, using: &generator)
                switch Int.random(in: 0...3, using: &generator) {
                case 0: changed[place] = alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
                case 1: changed.insert(alphabet[Int.random(in: 0..<alphabet.count, using: &generator)], at: place)
                case 2: changed.remove(at: place)
                default:
                    let end = min(changed.count, place + Int.random(in: 1...200, using: &generator))
                    changed.insert(
                        contentsOf: changed[place..<end], at: Int.random(in: 0...changed.count, using: &generator))
                }
            }
            var view = String.UnicodeScalarView()
            view.append(contentsOf: changed)
            if inSchema { fixture.schema = String(view) } else { fixture.yaml = String(view) }
            try check(fixture)
        }
    }

    private func check(_ fixture: PipelineFixture) throws {
        let diagnostics = try fixture.lint()
        for diagnostic in diagnostics {
            let text = diagnostic.file == fixture.pipelinePath ? fixture.yaml : fixture.schema
            // YAML counts more line breaks than the line feed; it never counts more lines than there are scalars.
            #expect((1...(text.unicodeScalars.count + 1)).contains(diagnostic.line) && diagnostic.column >= 1)
            #expect(!diagnostic.message.isEmpty && !diagnostic.mend.isEmpty)
        }
        if diagnostics.contains(where: { $0.severity == .error }) {
            #expect(throws: PipelineError.self) { try PipelineLoader.load(path: fixture.pipelinePath) }
        } else {
            _ = try PipelineLoader.load(path: fixture.pipelinePath)
        }
    }
}

/// Steele, Lea and Flood's SplitMix64: a small seeded generator, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
