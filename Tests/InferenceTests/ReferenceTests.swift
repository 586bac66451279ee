// ReferenceTests: agreement with ONNX Runtime.

import Inference
import Testing

@Suite("Models give what ONNX Runtime gives")
struct ReferenceTests {
    @Test("Every operator case agrees within 1e-5", arguments: try Fixture.operators())
    func operators(_ fixture: Fixture) throws {
        let session = try makeSession(fixture.modelBytes())
        let result = session.run(fixture.inputRows, count: fixture.rows)
        try fixture.expectEqual(result, classNames: session.describe().classes)
    }

    @Test(
        "A scaler with logistic regression and a dense network agree within 1e-5 in batches of every size",
        arguments: ["a_scaler_logreg", "b_mlp_30_64_64_2"])
    func models(_ name: String) throws {
        let (fixture, bytes) = try Fixture.reference(name)
        for rowsMax in [1, 7, 64, 256] {
            let session = try makeSession(bytes, rowsMax: rowsMax)
            try fixture.expectEqual(session.run(fixture.inputRows, count: fixture.rows), classNames: nil)
        }
    }

    @Test("A row's result does not depend on the rows around it, within 1e-6 of the largest output")
    func batchIndependence() throws {
        let (fixture, bytes) = try Fixture.reference("b_mlp_30_64_64_2")
        let session = try makeSession(bytes)
        let whole = try #require(session.run(fixture.inputRows, count: 64).column(named: "probabilities")).floats
        for size in [1, 2, 3, 5, 8, 17, 33] {
            for start in stride(from: 0, to: 64 - size, by: 13) {
                let rows = Array(fixture.inputRows[start * 30..<(start + size) * 30])
                let part = try #require(session.run(rows, count: size).column(named: "probabilities")).floats
                for index in part.indices { #expect(abs(part[index] - whole[start * 2 + index]) <= 1e-6) }
            }
        }
    }

    @Test("A row that is not a number leaves its neighbours alone")
    func notANumber() throws {
        let (fixture, bytes) = try Fixture.reference("b_mlp_30_64_64_2")
        let session = try makeSession(bytes)
        var rows = fixture.inputRows
        for column in 0..<30 { rows[5 * 30 + column] = .nan }
        let result = try #require(session.run(rows, count: 64).column(named: "probabilities")).floats
        #expect(result[10].isNaN && result[11].isNaN)
        for (index, value) in result.enumerated() where index / 2 != 5 { #expect(value.isFinite) }
    }
}
