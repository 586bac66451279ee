// DoctorCommand: `penstock doctor` looks for what would keep the service from running well here.

import ArgumentParser
import Foundation
import Kafka
import LocalDeployment
import SecureMemory
import Tensor

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this machine: libraries, PostgreSQL, limits, data directory.",
        discussion: """
            Exit status 0 when nothing would fail; warnings are allowed.

            Example: penstock doctor --output json
            """)

    enum Verdict: String, Encodable { case good, warning, failure }

    struct Finding: Encodable {
        var subject: String
        var verdict: Verdict
        var finding: String
        var mend: String?
    }

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        let findings = Self.findings(data: data.directory)
        if output.isJSON {
            try Console.print(json: findings)
        } else {
            var table = Table(.left("subject"), .left("verdict"), .left("finding"))
            for finding in findings { table.add(finding.subject, finding.verdict.rawValue, finding.finding) }
            Console.print(table.text)
            for finding in findings {
                guard let mend = finding.mend, finding.verdict != .good else { continue }
                Console.print("\(finding.subject): \(mend)")
            }
        }
        if findings.contains(where: { $0.verdict == .failure }) { throw ExitCode(1) }
    }

    static func findings(data: DataDirectory) -> [Finding] {
        let environment = ProcessInfo.processInfo.environment
        return [
            Finding(subject: "librdkafka", verdict: .good, finding: KafkaConfiguration.libraryVersion, mend: nil),
            library("libpq", "libpq.so.5", package: "libpq5"),
            library("OpenBLAS", "libopenblas.so.0", package: "libopenblas0"),
            library("OpenSSL", "libcrypto.so.3", package: "libssl3"),
            library("simdjson", "libsimdjson.so", package: "libsimdjson14"),
            coreType(environment["OPENBLAS_CORETYPE"]), vectorLevel(environment), programs(), postgres(), descriptors(),
            directory(data), processors(), protection(),
        ]
    }

    private static func library(_ subject: String, _ name: String, package: String) -> Finding {
        // The maps of this process tell which file the dynamic linker chose, with its version in the name.
        let maps = (try? String(contentsOfFile: "/proc/self/maps", encoding: .utf8)) ?? ""
        let loaded = maps.split(separator: "\n").lazy.compactMap { $0.split(separator: " ").last }.first {
            ($0 as Substring).split(separator: "/").last?.hasPrefix(name.prefix { $0 != "." } + ".") == true
        }
        if let loaded {
            let real = (try? FileManager.default.destinationOfSymbolicLink(atPath: String(loaded))) ?? String(loaded)
            return Finding(subject: subject, verdict: .good, finding: real, mend: nil)
        }
        for folder in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/lib"] {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            if let found = names.filter({ $0.hasPrefix(name) }).max() {
                return Finding(subject: subject, verdict: .good, finding: "\(folder)/\(found)", mend: nil)
            }
        }
        return Finding(
            subject: subject, verdict: .failure, finding: "not found", mend: "install it: apt-get install \(package)")
    }

    private static func coreType(_ value: String?) -> Finding {
        guard let value, !value.isEmpty else {
            return Finding(
                subject: "OPENBLAS_CORETYPE", verdict: .good, finding: "not set: OpenBLAS chose \(BLAS.coreType)",
                mend: nil)
        }
        return Finding(
            subject: "OPENBLAS_CORETYPE", verdict: .warning, finding: "is set to \(value): \(BLAS.coreType)",
            mend: "unset it: a fixed core type halves OpenBLAS's speed on newer processors")
    }

    private static func vectorLevel(_ environment: [String: String]) -> Finding {
        if let notice = VectorKernels.configure(environment: environment) {
            return Finding(
                subject: "inference kernels", verdict: .warning, finding: notice,
                mend: "unset \(VectorKernels.variable)")
        }
        return Finding(
            subject: "inference kernels", verdict: .good, finding: "\(VectorKernels.level)", mend: nil)
    }

    private static func programs() -> Finding {
        let names = Deployment.stages + Deployment.monitors + [Deployment.broker, Deployment.keyBroker]
        let missing = names.filter { !FileManager.default.isExecutableFile(atPath: "\(Programs.directory)/\($0)") }
        guard !missing.isEmpty else {
            return Finding(subject: "programs", verdict: .good, finding: "all in \(Programs.directory)", mend: nil)
        }
        return Finding(
            subject: "programs", verdict: .failure, finding: "missing: \(missing.joined(separator: ", "))",
            mend: "build them with 'make build', or name their folder with PENSTOCK_PROGRAMS")
    }

    private static func postgres() -> Finding {
        let base = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []).compactMap { Int($0) }
            .filter { FileManager.default.isExecutableFile(atPath: "\(base)/\($0)/bin/postgres") }.sorted()
        guard let newest = versions.last else {
            return Finding(
                subject: "PostgreSQL", verdict: .failure, finding: "no server programs in \(base)",
                mend: "apt-get install postgresql-15, or use a server elsewhere with PENSTOCK_POSTGRES")
        }
        return Finding(subject: "PostgreSQL", verdict: .good, finding: "\(base)/\(newest)/bin", mend: nil)
    }

    private static func descriptors() -> Finding {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(7), &limit)  // RLIMIT_NOFILE
        let isLow = limit.rlim_cur < 1_024
        return Finding(
            subject: "open files", verdict: isLow ? .warning : .good, finding: "at most \(limit.rlim_cur)",
            mend: isLow ? "raise it: ulimit -n 4096" : nil)
    }

    private static func directory(_ data: DataDirectory) -> Finding {
        do {
            try data.prepare()
            return Finding(subject: "data directory", verdict: .good, finding: data.path, mend: nil)
        } catch {
            return Finding(
                subject: "data directory", verdict: .failure, finding: error.message,
                mend: "choose a writable one with --data DIR")
        }
    }

    /// What keeps an opened model in this machine's memory.
    private static func protection() -> Finding {
        let report = ProcessHardening.report()
        let limit = report.lockLimitBytes ?? .max
        let isWeak =
            report.mayBeSwapped || !report.hasSecretMemory || limit < 64 << 20 || report.landlockVersion == 0
            || !ProcessHardening.canFilterCalls
        return Finding(
            subject: "model memory", verdict: isWeak ? .warning : .good,
            finding: "memfd_secret \(report.hasSecretMemory ? "yes" : "no"), lockable "
                + "\(report.lockLimitBytes.map { "\($0 >> 10) KiB" } ?? "without limit"), swap "
                + "\(report.mayBeSwapped ? "on" : "off"), Landlock version \(report.landlockVersion), seccomp "
                + "\(ProcessHardening.canFilterCalls ? "yes" : "no")",
            mend: "for the lock mode `required`: raise the limit (ulimit -l, LimitMEMLOCK=), switch swap off or set "
                + "memory.swap.max=0; memfd_secret needs Linux 6.5 or secretmem.enable=1, Landlock Linux 5.13")
    }

    private static func processors() -> Finding {
        let count = ProcessInfo.processInfo.activeProcessorCount
        return Finding(
            subject: "processors", verdict: count > 1 ? .good : .warning, finding: "\(count)",
            mend: count > 1 ? nil : "more than one lets the stages work side by side")
    }
}
