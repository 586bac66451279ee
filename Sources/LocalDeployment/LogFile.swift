// LogFile: logs of bounded size.

import FoundationEssentials
import Glibc

public enum LogFile {
    public static let bytesMax: Int64 = 16 << 20

    /// Copies a log that has outgrown its limit to `<log>.1` and empties it. The writer appends, so it needs no notice;
    /// lines written between the copy and the cut are lost, which is the price of children that never block on a log.
    public static func rotate(_ path: String, bytesMax: Int64 = LogFile.bytesMax) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_size > bytesMax else { return }
        let older = "\(path).1"
        try? FileManager.default.removeItem(atPath: older)
        guard (try? FileManager.default.copyItem(atPath: path, toPath: older)) != nil else { return }
        _ = truncate(path, 0)
    }

    /// The last lines of a log, for an error message.
    public static func tail(_ path: String, lines: Int) -> [String] {
        let bytesRead: Int64 = 64 << 10
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        let size = Int64(lseek(descriptor, 0, SEEK_END))
        _ = lseek(descriptor, off_t(max(0, size - bytesRead)), SEEK_SET)
        var buffer = [UInt8](repeating: 0, count: Int(min(size, bytesRead)))
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return [] }
        let text = String(decoding: buffer[..<count], as: UTF8.self)
        return text.split(separator: "\n").suffix(lines).map(String.init)
    }

    /// The message of a structured (JSON) log line, or the line itself.
    public static func message(of line: String) -> String {
        struct Entry: Decodable {
            var message: String?
            var error: String?
        }
        guard let entry = try? JSONDecoder().decode(Entry.self, from: Data(line.utf8)), let message = entry.message
        else { return line }
        guard let error = entry.error else { return message }
        return "\(message): \(error)"
    }
}
