// BrokerUnderTest: the broker in a process of its own, started, stopped and killed.

import FoundationEssentials
import Glibc
import ProcessControl

/// What keeps a measurement from being taken.
struct BenchmarkError: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

struct BrokerUnderTest {
    static let topic = "benchmark"
    static let latencyTopic = "benchmark-latency"
    private static let startMillisecondsMax: Int32 = 300_000

    let executable: String
    let directory: String
    let fsync: String
    private(set) var bootstrapServers = ""
    private var process: ChildProcess?

    init(executable: String, parent: String, fsync: String) throws {
        self.executable = executable
        self.fsync = fsync
        directory = "\(parent)/broker-benchmark-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        guard mkdir(directory, 0o700) == 0 else {
            throw BenchmarkError("Cannot make \(directory): \(String(cString: strerror(errno))); choose another --data")
        }
    }

    var usage: ProcessUsage { ProcessUsage(pid: process?.processID ?? 0) }

    /// Bytes of record batches on disk.
    var logBytes: Int64 { logFiles.reduce(0) { $0 + size(of: $1) } }

    private var logFiles: [String] {
        let files = (try? FileManager.default.subpathsOfDirectory(atPath: "\(directory)/data")) ?? []
        return files.filter { $0.hasSuffix(".log") }.map { "\(directory)/data/\($0)" }
    }

    private func size(of path: String) -> Int64 {
        var status = stat()
        return stat(path, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// Starts the broker and waits until it listens; gives the seconds that took.
    @discardableResult
    mutating func start(partitions: Int? = nil) throws -> Double {
        let address = "\(directory)/address"
        unlink(address)
        var arguments = [
            "--data", "\(directory)/data", "--address-file", address, "--fsync", fsync, "--exit-with-parent",
        ]
        if let partitions {
            arguments += ["--topic", "\(Self.topic):\(partitions)", "--topic", "\(Self.latencyTopic):1"]
        }
        let appearance = try FileAppearance(directory: directory, name: "address")
        let begin = ContinuousClock.now
        process = try ChildProcess(executable: executable, arguments: arguments, outputPath: "\(directory)/output")
        guard appearance.wait(timeoutMilliseconds: Self.startMillisecondsMax) else {
            throw BenchmarkError("The broker did not start: \(ProcessUsage.text("\(directory)/output").suffix(400))")
        }
        let seconds = begin.duration(to: .now) / .seconds(1)
        bootstrapServers = ProcessUsage.text(address).filter { !$0.isWhitespace }
        return seconds
    }

    mutating func measureRestarts() throws -> Report.Restart {
        let bytes = logBytes
        let begin = ContinuousClock.now
        process?.stop(graceMilliseconds: Self.startMillisecondsMax)
        let stop = begin.duration(to: .now) / .seconds(1)
        let clean = try start()
        process?.kill()
        let killed = try start()
        process?.kill()
        dropFromCache()
        let cold = try start()
        let gigabytes = Double(bytes) / 1e9
        return Report.Restart(
            logBytes: bytes, stopSeconds: stop, cleanSeconds: clean, killedSeconds: killed, killedColdSeconds: cold,
            killedSecondsPerGigabyte: killed / gigabytes, killedColdSecondsPerGigabyte: cold / gigabytes)
    }

    /// Has the kernel forget the log's pages, so that the next start reads the disk.
    private func dropFromCache() {
        for path in logFiles {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { continue }
            fdatasync(descriptor)
            posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_DONTNEED))
            close(descriptor)
        }
    }

    mutating func remove() {
        process?.kill()
        process = nil
        try? FileManager.default.removeItem(atPath: directory)
    }
}

/// Waits for a file to be renamed into a directory.
private struct FileAppearance: ~Copyable {
    private let descriptor: Int32
    private let name: String

    init(directory: String, name: String) throws {
        self.name = name
        descriptor = inotify_init1(Int32(IN_CLOEXEC))
        guard descriptor >= 0, inotify_add_watch(descriptor, directory, UInt32(IN_MOVED_TO)) >= 0 else {
            throw BenchmarkError("Cannot watch \(directory): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    borrowing func wait(timeoutMilliseconds: Int32) -> Bool {
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(timeoutMilliseconds)))
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let rest = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
            var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard rest > 0, poll(&request, 1, Int32(rest)) > 0 else { return false }
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return false }
            // A name follows each event's fixed part, padded with zero bytes; only whole names are compared.
            let text = String(decoding: buffer.prefix(count), as: UTF8.self)
            if text.split(separator: "\0").contains(where: { $0 == name }) { return true }
        }
    }
}
