// Properties: small text files of `name=value` lines with a checksum, replaced atomically.

/// The text form of the store's metadata: sorted lines, then the CRC-32C of all before it.
enum Properties {
    static func encode(_ values: [String: String]) -> [UInt8] {
        let text = values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)\n" }.joined()
        let checksum = unsafe Checksum.crc32c([UInt8](text.utf8).span.bytes)
        return [UInt8]((text + "crc32c=\(checksum)\n").utf8)
    }

    /// Nil if the text is damaged.
    static func decode(_ bytes: [UInt8]) -> [String: String]? {
        let text = String(decoding: bytes, as: UTF8.self)
        var values: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let separator = line.firstIndex(of: "=") else { return nil }
            values[String(line[..<separator])] = String(line[line.index(after: separator)...])
        }
        guard values.removeValue(forKey: "crc32c") != nil, encode(values) == bytes else { return nil }
        return values
    }
}

extension FileSystem {
    /// Replaces a file so that after a power loss either the old or the new content is there; durable on return.
    func replace(_ path: String, in directory: String, with bytes: [UInt8]) throws(FileError) {
        let temporary = path + ".tmp"
        try write(bytes, to: temporary).sync()
        try rename(temporary, to: path)
        try syncDirectory(directory)
    }

    /// Writes a whole file, not yet durable, and gives it for syncing.
    @discardableResult
    func write(_ bytes: [UInt8], to path: String) throws(FileError) -> any LogFile {
        let file = try open(path, create: true)
        try file.truncate(to: 0)
        try unsafe file.write(bytes.span.bytes, at: 0)
        return file
    }

    /// All bytes of a small file; nil if it is missing.
    func contents(of path: String) throws(FileError) -> [UInt8]? {
        do {
            let file = try open(path, create: false)
            var bytes = [UInt8](repeating: 0, count: Int(try file.size()))
            let count = try file.read(into: &bytes, at: 0)
            bytes.removeLast(bytes.count - count)
            return bytes
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }
}

extension LogFile {
    /// Writes the first bytes of an array.
    func write(prefix count: Int, of bytes: [UInt8], at position: Int64) throws(FileError) {
        try unsafe write(bytes.span.bytes.extracting(0..<count), at: position)
    }

    /// Fills an array from a position on; fewer bytes only at the end of the file.
    func read(into bytes: inout [UInt8], at position: Int64) throws(FileError) -> Int {
        // The pointer lives within the closure only.
        let result: Result<Int, FileError> = unsafe bytes.withUnsafeMutableBytes { buffer in
            do throws(FileError) { return .success(try unsafe read(into: buffer, at: position)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
