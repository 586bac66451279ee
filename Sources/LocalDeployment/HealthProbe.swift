// HealthProbe: a small HTTP client for the health endpoints of processes on this machine.

import Glibc

public enum HealthProbe {
    public struct Response: Sendable, Equatable {
        public var status: Int
        public var body: String
    }

    /// Largest response read; a metrics page has some tens of kilobytes.
    static let bytesMax = 4 << 20

    /// GET from 127.0.0.1; nil when nothing answers within the time.
    public static func get(port: Int, path: String, milliseconds: Int = 500) -> Response? {
        guard (1...65_535).contains(port) else { return nil }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var timeout = timeval(tv_sec: milliseconds / 1_000, tv_usec: (milliseconds % 1_000) * 1_000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard connect(descriptor, port: UInt16(port)) else { return nil }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            return nil
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while bytes.count < bytesMax {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: buffer[..<count])
        }
        return parse(bytes)
    }

    /// Whether the process says that it is ready.
    public static func isReady(port: Int) -> Bool { get(port: port, path: "/readyz")?.status == 200 }

    private static func connect(_ descriptor: Int32, port: UInt16) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    static func parse(_ bytes: [UInt8]) -> Response? {
        let text = String(decoding: bytes, as: UTF8.self)
        let words = text.prefix { $0 != "\r\n" && $0 != "\n" }.split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/"), let status = Int(words[1]) else { return nil }
        let scalars = Array(text.utf8)
        let separator = Array("\r\n\r\n".utf8)
        guard scalars.count >= separator.count else { return Response(status: status, body: "") }
        for start in 0...(scalars.count - separator.count) where scalars[start] == 0x0d {
            if Array(scalars[start..<(start + separator.count)]) == separator {
                return Response(
                    status: status, body: String(decoding: scalars[(start + separator.count)...], as: UTF8.self))
            }
        }
        return Response(status: status, body: "")
    }
}
