// ProcessFigures: what /proc tells of a process.

import FoundationEssentials
import Glibc

public struct ProcessFigures: Sendable, Equatable {
    public var cpuSeconds: Double
    public var residentBytes: Int64
    public var threads: Int
    /// Clock ticks after boot at which it started: tells a process from a later one with the same pid.
    public var startTicks: Int64

    /// Nil when there is no such process.
    public init?(pid: Int32) {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
        self.init(stat: String(decoding: data, as: UTF8.self))
    }

    /// Parses the text of /proc/<pid>/stat; the program's name in it may hold spaces and brackets.
    public init?(stat: String) {
        guard let close = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: close)...].split(separator: " ")
        // proc(5) counts from 1; the first field after the name is number 3.
        func field(_ number: Int) -> Int64? { fields.count > number - 3 ? Int64(fields[number - 3]) : nil }
        guard let user = field(14), let system = field(15), let threads = field(20), let start = field(22),
            let pages = field(24)
        else { return nil }
        cpuSeconds = Double(user + system) / Double(max(sysconf(Int32(_SC_CLK_TCK)), 1))
        residentBytes = pages * Int64(sysconf(Int32(_SC_PAGESIZE)))
        self.threads = Int(threads)
        startTicks = start
    }

    /// The processes whose parent is `pid`, whichever of its threads started them.
    public static func children(of pid: Int32) -> [Int32] {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
        return tasks.flatMap { task -> [Int32] in
            guard let text = FileManager.default.contents(atPath: "/proc/\(pid)/task/\(task)/children") else {
                return []
            }
            return String(decoding: text, as: UTF8.self).split(separator: " ").compactMap { Int32($0) }
        }
    }

    /// CPU seconds of a process and all below it: PostgreSQL does its work in children.
    public static func treeCPUSeconds(pid: Int32) -> Double {
        (ProcessFigures(pid: pid)?.cpuSeconds ?? 0) + children(of: pid).reduce(0) { $0 + treeCPUSeconds(pid: $1) }
    }
}
