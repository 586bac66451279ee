// MemberReader: typed access to the members of a JSON object, with errors that name the place.

import Cryptography

struct MemberReader {
    private let members: [String: JSONValue]
    private let place: String

    init(_ value: JSONValue, _ place: String) {
        members = value.object ?? [:]
        self.place = place
    }

    private func fault(_ name: String, _ text: String) -> SealingError {
        SealingError(.badHeader, "\(place).\(name) \(text)")
    }

    /// Unknown members are refused: what a reader does not know it cannot obey.
    func only(_ known: Set<String>) throws(SealingError) {
        if let unknown = members.keys.filter({ !known.contains($0) }).min() {
            throw fault(unknown, "is unknown to this program")
        }
    }

    func has(_ name: String) -> Bool { members[name] != nil }

    func text(_ name: String) throws(SealingError) -> String {
        guard let value = members[name]?.string else { throw fault(name, "must be a text") }
        return value
    }

    /// A name that is safe in a path, a URI and a log.
    func identifier(_ name: String) throws(SealingError) -> String {
        let value = try text(name)
        guard Self.isIdentifier(value) else {
            throw fault(name, "must be 1 to 128 letters, digits, '.', '_' and '-', beginning with a letter or digit")
        }
        return value
    }

    static func isIdentifier(_ value: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        }
        guard (1...128).contains(value.utf8.count), let first = value.utf8.first, isAlphanumeric(first) else {
            return false
        }
        return value.utf8.allSatisfy { isAlphanumeric($0) || [0x2e, 0x5f, 0x2d].contains($0) }
    }

    func count(_ name: String) throws(SealingError) -> Int64 {
        guard let value = members[name]?.integer, value >= 0 else { throw fault(name, "must be a whole number") }
        return value
    }

    func flag(_ name: String) throws(SealingError) -> Bool {
        guard let value = members[name]?.bool else { throw fault(name, "must be true or false") }
        return value
    }

    func digest(_ name: String) throws(SealingError) -> String {
        let value = try text(name)
        guard Hex.decode(value)?.count == 32 else { throw fault(name, "must be 64 hexadecimal digits") }
        return value
    }

    func bytes(_ name: String) throws(SealingError) -> [UInt8] {
        guard let value = Base64.decodeURL(try text(name)) else { throw fault(name, "must be base64url") }
        return value
    }

    func word<W: RawRepresentable>(_ name: String, _ type: W.Type) throws(SealingError) -> W
    where W.RawValue == String {
        guard let value = W(rawValue: try text(name)) else { throw fault(name, "is unknown") }
        return value
    }

    func list(_ name: String) throws(SealingError) -> [JSONValue] {
        guard let values = members[name]?.array else { throw fault(name, "must be a list") }
        return values
    }

    func words<W: RawRepresentable & Hashable>(_ name: String, _ type: W.Type) throws(SealingError) -> Set<W>
    where W.RawValue == String {
        var result: Set<W> = []
        for value in try list(name) {
            guard let word = value.string.flatMap(W.init(rawValue:)) else { throw fault(name, "holds an unknown word") }
            result.insert(word)
        }
        return result
    }

    func digests(_ name: String) throws(SealingError) -> [String] {
        var result: [String] = []
        for value in try list(name) {
            guard let text = value.string, Hex.decode(text)?.count == 32 else {
                throw fault(name, "must hold key ids of 64 hexadecimal digits")
            }
            result.append(text)
        }
        return result
    }

    func object(_ name: String) throws(SealingError) -> MemberReader {
        guard let value = members[name], value.object != nil else { throw fault(name, "must be an object") }
        return MemberReader(value, "\(place).\(name)")
    }

    func optional(_ name: String) throws(SealingError) -> MemberReader? {
        guard members[name] != nil else { return nil }
        return try object(name)
    }
}
