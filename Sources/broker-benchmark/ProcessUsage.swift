// ProcessUsage: what /proc tells of a process and its threads.

import FoundationEssentials
import Glibc

/// CPU time and memory of a process at one moment.
struct ProcessUsage {
    /// User and system time since its start, in seconds; of ended threads too.
    var cpuSeconds: Double
    /// Seconds by thread, of those that live.
    var threads: [Int32: (name: String, cpuSeconds: Double)]
    /// The largest resident size it ever had.
    var peakResidentBytes: Int64

    init(pid: Int32) {
        let place = "/proc/\(pid)"
        cpuSeconds = Self.cpuSeconds("\(place)/stat")
        threads = [:]
        for task in (try? FileManager.default.contentsOfDirectory(atPath: "\(place)/task")) ?? [] {
            guard let number = Int32(task) else { continue }
            let name = Self.text("\(place)/task/\(task)/comm").filter { !$0.isNewline }
            threads[number] = (name, Self.cpuSeconds("\(place)/task/\(task)/stat"))
        }
        let line = Self.text("\(place)/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        peakResidentBytes = (line.flatMap { Int64($0.filter(\.isNumber)) } ?? 0) * 1_024
    }

    /// What was used since an earlier moment, over that many seconds.
    func cost(since earlier: ProcessUsage, seconds: Double, records: Int) -> Report.Cost {
        let busiest = threads.map { number, thread in
            (name: thread.name, seconds: thread.cpuSeconds - (earlier.threads[number]?.cpuSeconds ?? 0))
        }.max { $0.seconds < $1.seconds }
        let used = cpuSeconds - earlier.cpuSeconds
        return Report.Cost(
            cpuSeconds: used, cores: used / seconds, cpuSecondsPerMillion: used / Double(records) * 1e6,
            busiestThread: busiest?.name ?? "", busiestThreadCores: (busiest?.seconds ?? 0) / seconds)
    }

    /// Fields 14 and 15 of a stat file, in ticks; the program's name before them may hold spaces and brackets.
    private static func cpuSeconds(_ path: String) -> Double {
        let text = text(path)
        guard let close = text.lastIndex(of: ")") else { return 0 }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(max(sysconf(Int32(_SC_CLK_TCK)), 1))
    }

    static func text(_ path: String) -> String {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}
