// KeyTemplate: a record key made from fields of the event, as in '{Latitude}:{Longitude}'.

struct KeyTemplate: Sendable {
    private enum Part: Sendable {
        case text(String)
        case field(String)
    }

    private let parts: [Part]

    init(_ text: String) throws(CommandFailure) {
        var parts: [Part] = []
        var rest = Substring(text)
        while !rest.isEmpty {
            let plain = rest.prefix { $0 != "{" && $0 != "}" }
            if !plain.isEmpty { parts.append(.text(String(plain))) }
            rest = rest.dropFirst(plain.count)
            guard let bracket = rest.first else { break }
            guard bracket == "{", let end = rest.firstIndex(of: "}") else {
                throw .usage("--key-template '\(text)': brackets must pair, as in '{Latitude}:{Longitude}'")
            }
            let name = rest[rest.index(after: rest.startIndex)..<end]
            guard !name.isEmpty, !name.contains("{") else {
                throw .usage("--key-template '\(text)': name a field between the brackets, as in '{id}'")
            }
            parts.append(.field(String(name)))
            rest = rest[rest.index(after: end)...]
        }
        self.parts = parts
    }

    var fields: [String] {
        parts.compactMap { part in
            guard case .field(let name) = part else { return nil }
            return name
        }
    }

    /// Nil when a field is missing.
    func key(_ field: (String) -> String?) -> String? {
        var result = ""
        for part in parts {
            switch part {
            case .text(let text): result += text
            case .field(let name):
                guard let value = field(name) else { return nil }
                result += value
            }
        }
        return result
    }
}
