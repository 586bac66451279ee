// FileInput: reads a file in blocks, with bounded memory.

import Glibc

/// An open file, closed with its owner.
struct FileInput: ~Copyable {
    static let blockBytes = 64 << 10

    let path: String
    private let descriptor: Int32

    init(path: String) throws(TransformError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TransformError(.fileAccess, "cannot read \(path): \(systemError(errno))")
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Fills `block` with the next bytes of the file, at most `blockBytes`; it is empty at the end.
    mutating func read(into block: inout [UInt8]) throws(TransformError) {
        if block.count < Self.blockBytes {
            block.append(contentsOf: repeatElement(0, count: Self.blockBytes - block.count))
        }
        var count: Int
        repeat {
            count = block.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, Self.blockBytes) }
        } while count < 0 && errno == EINTR
        guard count >= 0 else {
            throw TransformError(.fileAccess, "cannot read \(path): \(systemError(errno))")
        }
        block.removeLast(block.count - count)
    }

    /// The whole file, refused when it is longer than `bytesMax`.
    static func contents(of path: String, bytesMax: Int) throws(TransformError) -> [UInt8] {
        var file = try FileInput(path: path)
        var bytes: [UInt8] = []
        var block: [UInt8] = []
        repeat {
            try file.read(into: &block)
            bytes.append(contentsOf: block)
            guard bytes.count <= bytesMax else {
                throw TransformError(
                    .malformed, "\(path) is longer than \(bytesMax) bytes: it is not what is expected here")
            }
        } while !block.isEmpty
        return bytes
    }
}

/// The system's words for an error number.
func systemError(_ number: Int32) -> String {
    guard let text = strerror(number) else { return "error \(number)" }
    return String(cString: text)
}
