// AuditOutbox: what the broker did, chained and signed, on disk before a key leaves.

package import Cryptography
import FoundationEssentials
import Glibc
package import Sealing
import Synchronization

/// Appends one line of JSON for each event: `seq`, `prevHash` (SHA-256 of the line before), the event, an ES384 signature
/// over the line without it. A line is synced before `append` returns; when that fails, the broker releases nothing.
package final class AuditOutbox: Sendable {
    private struct State {
        var sequence: Int64
        var previous: String
    }

    private let descriptor: Int32
    private let signer: ECPrivateKey
    private let state: Mutex<State>
    static let genesis = String(repeating: "0", count: 64)

    package init(path: String, signer: ECPrivateKey) throws {
        let lines = try Self.lines(path)
        let last = try lines.last.map { try Self.parse($0) }
        state = Mutex(
            State(
                sequence: last?["seq"]?.integer ?? 0,
                previous: lines.last.map { SHA256.digest(of: $0).hexadecimal } ?? Self.genesis))
        self.signer = signer
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw SealingError(
                .cannotWrite, "\(path): the audit cannot be written: \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Whole lines; what a crash cut off at the end is not one.
    private static func lines(_ path: String) throws -> [[UInt8]] {
        var status = stat()
        // A pipe or a device has no past.
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            let data = FileManager.default.contents(atPath: path), !data.isEmpty
        else { return [] }
        var lines = data.split(separator: 0x0a, omittingEmptySubsequences: false).map { Array($0) }
        let rest = lines.removeLast()
        guard rest.isEmpty else {
            throw SealingError(
                .unreadable, "\(path) ends in a line that was cut off: keep a copy, remove the last line, start again")
        }
        return lines
    }

    private static func parse(_ line: [UInt8]) throws -> JSONValue { try JSONValue(parsing: line) }

    /// Writes an event through to the disk.
    package func append(_ event: String, time: Int64, _ members: [String: JSONValue]) throws {
        try state.withLock { state in
            var line = members
            line["event"] = .string(event)
            line["time"] = .integer(time)
            line["seq"] = .integer(state.sequence + 1)
            line["prevHash"] = .string(state.previous)
            let signature = try signer.sign(JSONValue.object(line).canonical)
            line["sig"] = .string(Base64.encodeURL(signature))
            let bytes = JSONValue.object(line).canonical
            let text = bytes + [0x0a]
            guard write(descriptor, text, text.count) == text.count, fdatasync(descriptor) == 0 else {
                throw BrokerProblem(.auditUnavailable, "the audit cannot be written")
            }
            state.sequence += 1
            state.previous = SHA256.digest(of: bytes).hexadecimal
        }
    }

    /// Checks signatures, sequence and chain.
    /// - Returns: the events.
    package static func verify(path: String, key: ECPublicKey) throws -> [JSONValue] {
        var previous = genesis
        var events: [JSONValue] = []
        for (index, line) in try lines(path).enumerated() {
            let value = try parse(line)
            guard var members = value.object, members["seq"] == .integer(Int64(index + 1)),
                members["prevHash"] == .string(previous)
            else { throw SealingError(.corrupt, "\(path): line \(index + 1) does not follow the one before") }
            let signature = members.removeValue(forKey: "sig")?.string.flatMap(Base64.decodeURL) ?? []
            guard key.verifies(signature, JSONValue.object(members).canonical) else {
                throw SealingError(.badSignature, "\(path): line \(index + 1) was changed")
            }
            previous = SHA256.digest(of: line).hexadecimal
            events.append(value)
        }
        return events
    }
}
