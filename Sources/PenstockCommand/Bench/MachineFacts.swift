// MachineFacts: where and with what a benchmark ran.

import Foundation
import Kafka
import Postgres
import Tensor

/// What a figure means nothing without.
struct MachineFacts: Encodable {
    var processor: String
    var processors: Int
    var memoryMebibytes: Int64
    var kernel: String
    /// One-minute load average before anything of the benchmark ran: other work on the machine.
    var loadBefore: Double
    var librdkafka: String
    var postgresql: String
    /// The kernels OpenBLAS chose, and whether an environment variable forced them.
    var openBLASCore: String
    var isOpenBLASCoreForced: Bool
    var build: String

    /// - Parameter loadBefore: from `load`, taken before the stack was started.
    init(loadBefore: Double, connection: PostgresConnection) throws {
        processor = Self.line("/proc/cpuinfo", "model name") ?? "unknown"
        processors = ProcessInfo.processInfo.activeProcessorCount
        memoryMebibytes = Int64(ProcessInfo.processInfo.physicalMemory >> 20)
        kernel = (Self.text("/proc/sys/kernel/osrelease") ?? "unknown").filter { !$0.isWhitespace }
        self.loadBefore = loadBefore
        librdkafka = KafkaConfiguration.libraryVersion
        postgresql = try connection.query("SHOW server_version", []).value(String.self, row: 0, column: 0)
        openBLASCore = BLAS.coreType
        isOpenBLASCoreForced = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"]?.isEmpty == false
        #if DEBUG
            build = "debug"
        #else
            build = "release"
        #endif
    }

    static var load: Double {
        text("/proc/loadavg")?.split(separator: " ").first.flatMap { Double($0) } ?? .nan
    }

    /// The largest resident size a process ever had, bytes.
    static func peakResidentBytes(pid: Int32) -> Int64 {
        line("/proc/\(pid)/status", "VmHWM").flatMap { Int64($0.filter(\.isNumber)) }.map { $0 * 1_024 } ?? 0
    }

    private static func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The value of the first line `name : value`.
    private static func line(_ path: String, _ name: String) -> String? {
        text(path)?.split(whereSeparator: \.isNewline).first { $0.hasPrefix(name) }
            .flatMap { $0.split(separator: ":", maxSplits: 1).last }
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    var text: String {
        """
        \(processor), \(processors) processors, \(memoryMebibytes) MiB, Linux \(kernel), load before \
        \(Numbers.decimal(loadBefore, 2))
        librdkafka \(librdkafka), PostgreSQL \(postgresql), OpenBLAS kernels \(openBLASCore)\
        \(isOpenBLASCoreForced ? " (forced by OPENBLAS_CORETYPE)" : ""), \(build) build
        """
    }
}
