// ProcessHardening: what keeps other programs out of this process's memory, and what of it is active.

import CSecureMemory
import FoundationEssentials
import Glibc

/// What protects the process; shown by readiness and by `penstock doctor`.
public struct ProtectionReport: Sendable, Equatable, Codable {
    /// No core file is written.
    public var isCoreOff = false
    /// A debugger of the same user cannot attach (root can).
    public var isUndumpable = false
    /// seccomp refuses ptrace, process_vm_readv and the like from within.
    public var hasCallFilter = false
    /// Landlock version of the kernel, 0 for none.
    public var landlockVersion = 0
    /// Landlock keeps this process from writing anywhere but in the folders that it needs.
    public var hasWriteConfinement = false
    /// memfd_secret works.
    public var hasSecretMemory = false
    /// Bytes that may be locked; nil without limit.
    public var lockLimitBytes: Int?
    /// A swap device is in use, and this control group may use it.
    public var mayBeSwapped = false

    public var sentence: String {
        func word(_ isOn: Bool) -> String { isOn ? "on" : "off" }
        let limit = lockLimitBytes.map { "\($0 >> 10) KiB" } ?? "no limit"
        return "core dumps \(isCoreOff ? "off" : "POSSIBLE"), debugger of the same user "
            + "\(isUndumpable ? "refused" : "ALLOWED"), seccomp \(word(hasCallFilter)), Landlock "
            + "\(landlockVersion == 0 ? "none" : word(hasWriteConfinement)), memfd_secret "
            + "\(word(hasSecretMemory)), lockable \(limit), swap \(mayBeSwapped ? "POSSIBLE" : "none")"
    }
}

/// Settings of the whole process, made before a secret enters it and before other threads start.
public enum ProcessHardening {
    /// RLIMIT_MEMLOCK's soft limit after it was raised to the hard one; nil without limit.
    static var lockLimit: Int? {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(8), &limit) == 0, limit.rlim_cur < UInt(Int.max) else { return nil }
        return Int(limit.rlim_cur)
    }

    /// Switches off core dumps and attaching, and raises the lock limit as far as this process may.
    ///
    /// - Parameter mode: `required` refuses to go on where swap is on.
    public static func apply(mode: LockMode) throws(SecureMemoryError) {
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        guard unsafe setrlimit(__rlimit_resource_t(4), &none) == 0, penstock_forbid_dump() == 0,
            penstock_forbid_privileges() == 0
        else { throw SecureMemoryError(.cannotHarden, "core dumps cannot be switched off for this process") }
        // The Swift runtime's crash reporter, where it is on, would print memory.
        for number in [SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] { signal(number, SIG_DFL) }
        var limit = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(8), &limit) == 0, limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            _ = unsafe setrlimit(__rlimit_resource_t(8), &limit)
        }
        try checkSwap(mode)
    }

    /// Refuses the mode `required` on a machine that could write the process's pages to a swap device.
    /// - Parameter root: of the system's files; tests bring their own.
    static func checkSwap(_ mode: LockMode, root: String = "") throws(SecureMemoryError) {
        guard mode != .required || !mayBeSwapped(root: root) else {
            throw SecureMemoryError(
                .swapIsOn,
                "swap is on and the lock mode is `required`: switch swap off (swapoff -a), set memory.swap.max=0 for "
                    + "this control group, or choose the lock mode bestEffort")
        }
    }

    /// seccomp on every thread; false where the kernel has none.
    @discardableResult
    public static func filterCalls() -> Bool { penstock_filter_calls() == 0 }

    /// The kernel can filter calls for this process.
    public static var canFilterCalls: Bool { penstock_can_filter_calls() == 1 }

    /// Confines writes of this thread, and of threads that it starts, to `folders`; false where the kernel has no Landlock.
    /// The kernel's older versions cannot reach other threads, so this comes before any other thread exists.
    @discardableResult
    public static func confineWrites(to folders: [String]) -> Bool {
        var pointers: [UnsafePointer<CChar>?] = unsafe folders.map { unsafe UnsafePointer(strdup($0)) }
        // Freed after the call, during which they stay as they are.
        defer { for index in unsafe pointers.indices { unsafe free(UnsafeMutablePointer(mutating: pointers[index])) } }
        return unsafe penstock_restrict_writes(&pointers, Int32(pointers.count)) == 0
    }

    /// What is active now.
    public static func report() -> ProtectionReport {
        var report = ProtectionReport()
        var core = rlimit()
        report.isCoreOff = unsafe getrlimit(__rlimit_resource_t(4), &core) == 0 && core.rlim_cur == 0
        report.isUndumpable = penstock_is_dumpable() == 0
        report.hasCallFilter = status("Seccomp:") == "2"
        report.landlockVersion = Int(penstock_landlock_version())
        report.hasWriteConfinement = isConfined
        let descriptor = penstock_memfd_secret()
        report.hasSecretMemory = descriptor >= 0
        if descriptor >= 0 { close(descriptor) }
        report.lockLimitBytes = lockLimit
        report.mayBeSwapped = mayBeSwapped()
        return report
    }

    /// Landlock cannot be asked what it does; a device that everybody may write shows it.
    private static var isConfined: Bool {
        let descriptor = unsafe open("/dev/null", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == EACCES }
        close(descriptor)
        return false
    }

    /// A swap device is on, and neither this control group nor one above forbids it.
    private static func mayBeSwapped(root: String = "") -> Bool {
        let swaps = text("\(root)/proc/swaps").split(separator: "\n").dropFirst()
        guard !swaps.isEmpty else { return false }
        let groups = text("\(root)/proc/self/cgroup").split(separator: "\n")
        let path = groups.first { $0.hasPrefix("0::") }?.dropFirst(3) ?? "/"
        let top = "\(root)/sys/fs/cgroup"
        var folder = "\(top)\(path == "/" ? "" : path)"
        while folder.count >= top.count {
            if text("\(folder)/memory.swap.max").hasPrefix("0\n") { return false }
            guard let slash = folder.lastIndex(of: "/") else { break }
            folder = String(folder[..<slash])
        }
        return true
    }

    private static func status(_ key: String) -> String? {
        text("/proc/self/status").split(separator: "\n").first { $0.hasPrefix(key) }?
            .dropFirst(key.count).split(whereSeparator: \.isWhitespace).first.map(String.init)
    }

    private static func text(_ path: String) -> String {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}
