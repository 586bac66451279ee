// HTTPPost: one HTTP/1.1 POST over a plain TCP connection, with a deadline for the whole of it.

import Glibc

/// Where to post.
public struct HTTPAddress: Sendable, Equatable, CustomStringConvertible {
    public var host: String
    public var port: Int
    public var path: String

    /// An `http://host[:port][/path]` URL.
    /// - Throws: with what is wrong and how to write it.
    public init(_ url: String) throws(HTTPFault) {
        guard url.hasPrefix("http://") else {
            throw HTTPFault(
                url.hasPrefix("https://")
                    ? "\(url): this program speaks plain HTTP only; send to an Alertmanager or a proxy on this host"
                    : "\(url): write http://host:port/path")
        }
        let rest = url.dropFirst("http://".count)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let authority = rest[..<slash]
        path = slash == rest.endIndex ? "/" : String(rest[slash...])
        guard !authority.contains("@"), !authority.isEmpty, path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw HTTPFault("\(url): write http://host:port/path, without user, password or blanks")
        }
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            guard let port = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(port) else {
                throw HTTPFault("\(url): the port is not 1 to 65535")
            }
            self.port = port
            host = String(authority[..<colon])
        } else {
            port = 80
            host = String(authority)
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { throw HTTPFault("\(url): the host is missing") }
    }

    public var description: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)\(path)" }
}

/// Why a request came to nothing.
public struct HTTPFault: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }

    public init(_ message: String) { self.message = message }
}

public enum HTTPPost {
    /// Bytes of an answer that are looked at.
    private static let answerBytesMax = 64 << 10

    /// Sends the body and returns the status code. Blocks for at most `timeoutMilliseconds` after the host's name is known.
    public static func send(
        _ body: [UInt8], to address: HTTPAddress, headers: [(name: String, value: String)] = [],
        timeoutMilliseconds: Int = 5_000
    ) throws(HTTPFault) -> Int {
        let deadline = ContinuousClock.now + .milliseconds(timeoutMilliseconds)
        let socket = try connect(address, deadline)
        defer { close(socket) }
        var head = "POST \(address.path) HTTP/1.1\r\nHost: \(address.host):\(address.port)\r\n"
        head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\nConnection: close\r\n"
        head += "User-Agent: penstock-alert-notifier\r\n"
        for header in headers { head += "\(header.name): \(header.value)\r\n" }
        try write(Array(head.utf8) + Array("\r\n".utf8) + body, to: socket, deadline)
        return try status(from: socket, deadline)
    }

    private static func milliseconds(until deadline: ContinuousClock.Instant) -> Int32 {
        let rest = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
        return Int32(max(0, min(rest.rounded(.up), 3_600_000)))
    }

    private static func text(_ number: Int32) -> String { String(cString: strerror(number)) }

    private static func connect(
        _ address: HTTPAddress, _ deadline: ContinuousClock.Instant
    ) throws(HTTPFault) -> Int32 {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(address.host, String(address.port), &hints, &list)
        guard code == 0, let first = list else {
            throw HTTPFault("\(address): the host is not known (\(String(cString: gai_strerror(code))))")
        }
        defer { freeaddrinfo(first) }
        var problem = "no address"
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let entry = next {
            next = entry.pointee.ai_next
            let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
            let descriptor = socket(entry.pointee.ai_family, flags, 0)
            guard descriptor >= 0 else { continue }
            if Glibc.connect(descriptor, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0 { return descriptor }
            var error = errno
            if error == EINPROGRESS {
                error = wait(descriptor, Int16(POLLOUT), deadline) ? socketError(descriptor) : ETIMEDOUT
                if error == 0 { return descriptor }
            }
            problem = text(error)
            close(descriptor)
        }
        throw HTTPFault("\(address): \(problem)")
    }

    private static func socketError(_ descriptor: Int32) -> Int32 {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno
    }

    /// False when the time is over.
    private static func wait(_ descriptor: Int32, _ events: Int16, _ deadline: ContinuousClock.Instant) -> Bool {
        while true {
            var entry = pollfd(fd: descriptor, events: events, revents: 0)
            let count = poll(&entry, 1, milliseconds(until: deadline))
            if count < 0, errno == EINTR { continue }
            return count > 0
        }
    }

    private static func write(
        _ bytes: [UInt8], to descriptor: Int32, _ deadline: ContinuousClock.Instant
    ) throws(HTTPFault) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                sent += count
            } else if count < 0, errno == EAGAIN || errno == EINTR {
                guard wait(descriptor, Int16(POLLOUT), deadline) else { throw HTTPFault("the receiver takes nothing") }
            } else {
                throw HTTPFault("the connection broke: \(text(errno))")
            }
        }
    }

    /// Reads as far as the status line.
    private static func status(
        from descriptor: Int32, _ deadline: ContinuousClock.Instant
    ) throws(HTTPFault) -> Int {
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while answer.count < answerBytesMax {
            guard wait(descriptor, Int16(POLLIN), deadline) else { throw HTTPFault("no answer in time") }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { break }
            answer += buffer[..<count]
            if answer.contains(0x0a) { break }
        }
        let line = String(decoding: answer.prefix { $0 != 0x0d && $0 != 0x0a }, as: UTF8.self)
        let words = line.split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let code = Int(words[1]), (100...599).contains(code)
        else {
            throw HTTPFault("the answer is no HTTP: \(line.prefix(80))")
        }
        return code
    }
}
