// SmallDisk: a file system of some megabytes that a test can fill, where the machine allows mounting one.

import Glibc
import TestSupport

/// A tmpfs in a folder of its own. Unmounted by `remove`, at the latest when the machine's mount table is.
struct SmallDisk {
    let path: String

    /// Nil without the right to mount.
    init?(megabytes: Int, ownerOf other: String) {
        var template = Array("/tmp/penstock-disk.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var owner = stat()
        guard mount("tmpfs", path, "tmpfs", 0, "size=\(megabytes)m,mode=0700") == 0 else {
            rmdir(path)
            return nil
        }
        guard stat(other, &owner) == 0, chown(path, owner.st_uid, owner.st_gid) == 0 else {
            remove()
            return nil
        }
    }

    func remove() {
        // Lazily (MNT_DETACH): a server that is just ending may still hold a file open.
        umount2(path, 2)
        rmdir(path)
    }

    static let isPossible: Bool = {
        guard let disk = SmallDisk(megabytes: 1, ownerOf: "/") else { return false }
        disk.remove()
        return true
    }()
}
