// TestProgram: the package's executables, run by a test and never left behind.

import Glibc
public import ProcessControl

/// Starts executables from the directory the tests were built into.
public enum TestProgram {
    /// Directory of the running test executable, where the package's other products lie too.
    public static let productsDirectory: String = {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // `swift test` runs the bundle's own executable; under another runner the first argument names it.
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") }
        let program = path.hasSuffix(".xctest") ? path : bundle ?? path
        return program.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    }()

    /// Runs a product while `body` runs, then stops it; it is killed when it does not stop in time.
    ///
    /// - Parameter outputPath: file for standard output and standard error.
    public static func run<R>(
        _ product: String, _ arguments: [String], environment: [String: String] = [:], outputPath: String,
        _ body: (ChildProcess) async throws -> R
    ) async throws -> R {
        let child = try start(product, arguments, environment: environment, outputPath: outputPath)
        defer { child.stop(graceMilliseconds: 20_000) }
        return try await body(child)
    }

    /// Starts a product. It ends with the returned value, at the latest.
    public static func start(
        _ product: String, _ arguments: [String], environment: [String: String] = [:], outputPath: String
    ) throws -> ChildProcess {
        try ChildProcess(
            executable: "\(productsDirectory)/\(product)", arguments: arguments, environment: environment,
            outputPath: outputPath)
    }

    /// Starts a program of the system, searched for in PATH. It ends with the returned value, at the latest.
    public static func startCommand(
        _ name: String, _ arguments: [String], outputPath: String
    ) throws -> ChildProcess {
        try ChildProcess(executable: name, arguments: arguments, outputPath: outputPath)
    }

    /// The whole text of a file, or nil when it does not exist.
    public static func contents(of path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { break }
            bytes.append(contentsOf: buffer.prefix(count))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Waits until a condition gives a value; nil when the time is over first.
    public static func waitFor<R>(
        timeoutMilliseconds: Int = 15_000, _ condition: () throws -> R?
    ) async throws -> R? {
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(timeoutMilliseconds))
        while true {
            if let value = try condition() { return value }
            guard ContinuousClock.now < deadline else { return nil }
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
