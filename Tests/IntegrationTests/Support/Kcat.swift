// Kcat: reads a topic with an independent client, byte for byte.

import Foundation
import ProcessControl
import TestSupport

/// A record as kcat prints it.
struct KcatRecord: Equatable {
    var partition: Int
    var offset: Int
    /// nil for null.
    var key: [UInt8]?
    /// nil for null.
    var value: [UInt8]?
    /// `name=value,name=value`, as kcat writes headers.
    var headers: [UInt8]

    /// The value of a header that holds neither a comma nor a line break.
    func header(_ name: String) -> String? {
        let text = String(decoding: headers, as: UTF8.self)
        let fields = text.split(separator: ",").map { $0.split(separator: "=", maxSplits: 1) }
        return fields.first { $0.first.map(String.init) == name }.flatMap { $0.count == 2 ? String($0[1]) : nil }
    }
}

enum Kcat {
    /// Lengths first, then the raw bytes; the record separator (0x1e) ends the headers.
    private static let format = "%p %o %K %S\n%k%s%h\u{1e}\n"

    /// All records that the topic has now.
    static func read(_ topic: String, servers: String, directory: String) async throws -> [KcatRecord] {
        let path = "\(directory)/kcat-\(TestBroker.uniqueName("output"))"
        let child = try TestProgram.startCommand(
            "kcat", ["-C", "-q", "-e", "-o", "beginning", "-b", servers, "-t", topic, "-f", format], outputPath: path)
        let status = try await onThread { child.wait(timeoutMilliseconds: 60_000) }
        let bytes = FileManager.default.contents(atPath: path).map { Array($0) } ?? []
        guard status == .exited(0) else {
            throw TestFailure("kcat \(topic): \(String(describing: status)) \(String(decoding: bytes, as: UTF8.self))")
        }
        return try parse(bytes)
    }

    static func parse(_ bytes: [UInt8]) throws -> [KcatRecord] {
        var records: [KcatRecord] = []
        var rest = bytes[...]
        func take(_ length: Int) throws -> [UInt8]? {
            guard length >= 0 else { return nil }
            guard rest.count >= length else { throw TestFailure("kcat's output ends within a record") }
            defer { rest = rest.dropFirst(length) }
            return Array(rest.prefix(length))
        }
        while !rest.isEmpty {
            let line = rest.prefix { $0 != UInt8(ascii: "\n") }
            rest = rest.dropFirst(line.count + 1)
            let numbers = String(decoding: line, as: UTF8.self).split(separator: " ").compactMap { Int($0) }
            guard numbers.count == 4 else {
                throw TestFailure("not a record's head: \(String(decoding: line, as: UTF8.self))")
            }
            let key = try take(numbers[2])
            let value = try take(numbers[3])
            let headers = Array(rest.prefix { $0 != 0x1e })
            rest = rest.dropFirst(headers.count + 2)
            records.append(
                KcatRecord(partition: numbers[0], offset: numbers[1], key: key, value: value, headers: headers))
        }
        return records
    }
}
