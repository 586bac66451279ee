// InstanceSlot: the name under which a process works in its group, the same after each restart.

import Glibc
import StageRuntime

/// A slot of a consumer group on this host. In the profile `exact` it is both the static member's name and the transactional
/// id, so that a process that comes back takes up what its predecessor left: its partitions, and the end of its transaction.
///
/// Without a given name a process takes the lowest free slot `<host>-<n>` of its group. A slot is taken by an exclusive lock
/// on a file, which the kernel gives back when the process ends, however it ends: no two living processes of a host share a
/// slot, and after kill -9 the slot is free at once. Hosts differ by their names. Two processes that are *given* the same name
/// fence each other, and the older one ends with a message.
enum InstanceSlot {
    /// Slots of a group on one host, at most.
    static let slotsMax = 1_024

    /// Takes a slot for the life of the process.
    ///
    /// - Throws: `StageFailure` naming the folder when no slot can be taken.
    static func claim(group: String, folder: String?) throws(StageFailure) -> String {
        let directory = folder ?? defaultFolder
        try prepare(directory)
        for number in 0..<slotsMax {
            let path = "\(directory)/\(group).\(number).slot"
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else {
                throw StageFailure(
                    exitCode: 2,
                    "the slot file \(path) cannot be opened (\(String(cString: strerror(errno)))): give --instance a name that "
                        + "stays the same, or --slot-directory a folder that this user may write")
            }
            // Kept open, and so locked, until the process ends.
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return "\(hostName)-\(number)" }
            close(descriptor)
        }
        throw StageFailure("all \(slotsMax) slots of group '\(group)' in \(directory) are taken")
    }

    static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return host.isEmpty ? "host" : host
    }

    private static var defaultFolder: String { "/tmp/penstock-slots-\(getuid())" }

    /// The folder that is used, made if it is not there: whoever is confined to it must find it.
    static func folder(_ given: String?) -> String {
        let directory = given ?? defaultFolder
        mkdir(directory, 0o700)
        return directory
    }

    /// Makes the folder; refuses one that somebody else could have laid there.
    private static func prepare(_ directory: String) throws(StageFailure) {
        if mkdir(directory, 0o700) == 0 { return }
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == getuid() else {
            throw StageFailure(
                exitCode: 2,
                "the slot folder \(directory) is not a folder of this user: give --slot-directory another one, or --instance "
                    + "a name that stays the same")
        }
    }
}
