// Rejection: why an input record becomes a dead letter.

import EventContracts
import JSONColumns

/// A code, and one sentence for a person: the place, what was found, and the way to mend it.
struct Rejection: Error {
    var code: ErrorCode
    var message: String

    init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}

extension ErrorCode {
    init(_ code: JSONFault.Code) {
        switch code {
        case .empty: self = .emptyValue
        case .tooLarge: self = .tooLarge
        case .notUTF8: self = .notUTF8
        case .malformed: self = .malformedJSON
        case .tooDeep: self = .tooDeep
        case .notAnObject: self = .notAnObject
        case .duplicateKey: self = .duplicateKey
        case .unknownField: self = .unknownField
        case .wrongType: self = .wrongType
        case .notFinite: self = .notFinite
        case .outOfRange: self = .outOfRange
        case .missingField: self = .missingField
        }
    }
}

extension RawSpan {
    /// Whether the bytes are those of a literal.
    func equals(_ text: StaticString) -> Bool {
        guard byteCount == text.utf8CodeUnitCount else { return false }
        return hasPrefix(text)
    }

    func hasPrefix(_ text: StaticString) -> Bool {
        guard byteCount >= text.utf8CodeUnitCount else { return false }
        for index in 0..<text.utf8CodeUnitCount
        where unsafe text.utf8Start[index] != little(UInt8.self, at: index) {
            return false
        }
        return true
    }

    /// At most 40 bytes for a message, in quotes.
    var quoted: String { "\"\(JSONFault.printable(self))\"" }
}
