// Artifacts: the fitted transform and the trained model, made once per test run by `penstock fit` and `penstock train`.

import Foundation
import Glibc
import ProcessControl
import Synchronization
import TestSupport

/// What a test cannot go on without.
struct TestFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

enum Artifacts {
    /// The pipeline's folder in the repository.
    static let housing = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "topics/housing").path

    private static let shared = Mutex<TemporaryDirectory?>(nil)

    /// The folder of transform.json, model.onnx and model.json. A small network: the path matters here, not the model.
    static func folder() throws -> String {
        try shared.withLock { shared in
            if let shared { return shared.path }
            let directory = try TemporaryDirectory()
            try make(["fit", housing], directory)
            try make(["train", housing, "--model", "dense", "--hidden", "8", "--epochs", "3"], directory)
            shared = directory
            atexit { Artifacts.remove() }
            return directory.path
        }
    }

    private static func remove() { shared.withLock { $0 = nil } }

    private static func make(_ arguments: [String], _ directory: TemporaryDirectory) throws {
        let log = directory.file("\(arguments[0]).log")
        let child = try TestProgram.start(
            "penstock", arguments + ["--artifacts", directory.path], outputPath: log)
        guard child.wait(timeoutMilliseconds: 240_000) == .exited(0) else {
            throw TestFailure("penstock \(arguments.joined(separator: " ")): \(TestProgram.contents(of: log) ?? "")")
        }
    }
}
