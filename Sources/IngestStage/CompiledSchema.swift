// CompiledSchema: the event schema, ready to check rows of JSON columns and to write them as event bodies.

import EventContracts
import JSONColumns
import PipelineContract

/// A mistake in the contract of the input that only this stage can see.
public struct IngestConfigurationError: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }
}

/// The plan for each field, in the order of the schema.
struct CompiledSchema {
    /// What every row needs of a field, without references: a copy of one for each field of each row would count them all.
    private struct Step {
        enum Kind {
            case text, time, number
        }

        var kind: Kind
        var jsonColumn: Int
        var bodyColumn: Int
        /// A number must lie between; beyond, or on a bound that is exclusive, the plan says what is wrong.
        var minimum = -Double.infinity
        var maximum = Double.infinity
        /// A text must fulfil more than its length in bytes.
        var isConstrained = false
    }

    private struct Plan {
        var field: EventSchema.Field
        /// Column among the numbers or the texts of the JSON columns.
        var jsonColumn: Int
        /// Column among the numbers or the texts of the event body.
        var bodyColumn: Int
        var enumeration: [[UInt8]]?
        var pattern: Regex<AnyRegexOutput>?
    }

    private let plans: [Plan]
    private let steps: [Step]
    let json: JSONSchema
    let numericCount: Int
    let textCount: Int
    /// Field of the event time; its place among the numbers of the body.
    private let eventTimeColumn: Int?
    /// Field of the identity of plain JSON; its place among the texts of the body.
    let identityColumn: Int?

    init(_ input: InputContract) throws(IngestConfigurationError) {
        var plans: [Plan] = []
        var (jsonNumbers, jsonTexts, numbers, texts) = (0, 0, 0, 0)
        for field in input.schema.fields {
            let isText = field.type == .string || field.type == .timestamp
            plans.append(
                Plan(
                    field: field, jsonColumn: isText ? jsonTexts : jsonNumbers,
                    bodyColumn: field.type == .string ? texts : numbers,
                    enumeration: field.enumeration.map { $0.map { Array($0.utf8) } }, pattern: try Self.pattern(field)))
            if isText { jsonTexts += 1 } else { jsonNumbers += 1 }
            if field.type == .string { texts += 1 } else { numbers += 1 }
        }
        self.plans = plans
        steps = plans.map(Self.step)
        (numericCount, textCount) = (numbers, texts)
        json = JSONSchema(
            fields: input.schema.fields.map { field in
                JSONSchema.Field(
                    field.name, Self.type(of: field), isRequired: field.isRequired, isNullable: field.isNullable)
            },
            unknownFields: input.unknownFields == .reject ? .reject : .ignore, bytesMax: input.bytesMax,
            depthMax: input.depthMax)
        eventTimeColumn = try Self.column(of: input.eventTimeField, .timestamp, "eventTime", in: plans)
        identityColumn = try Self.column(of: input.identity?.idField, .string, "identity", in: plans)
    }

    private static func step(_ plan: Plan) -> Step {
        let field = plan.field
        var step = Step(kind: .number, jsonColumn: plan.jsonColumn, bodyColumn: plan.bodyColumn)
        switch field.type {
        case .string:
            step.kind = .text
            step.isConstrained =
                plan.enumeration != nil || plan.pattern != nil || field.lengthMin != nil || field.lengthMax != nil
        case .timestamp: step.kind = .time
        case .number, .integer, .boolean:
            step.minimum = field.minimum.map { field.isMinimumExclusive ? $0.nextUp : $0 } ?? -.infinity
            step.maximum = field.maximum.map { field.isMaximumExclusive ? $0.nextDown : $0 } ?? .infinity
        }
        return step
    }

    private static func type(of field: EventSchema.Field) -> JSONSchema.FieldType {
        switch field.type {
        case .number: .number
        case .integer: .integer
        case .boolean: .boolean
        case .string, .timestamp: .string
        }
    }

    private static func pattern(_ field: EventSchema.Field) throws(IngestConfigurationError) -> Regex<AnyRegexOutput>? {
        guard let pattern = field.pattern else { return nil }
        do {
            return try Regex(pattern).matchingSemantics(.unicodeScalar)
        } catch {
            throw IngestConfigurationError(
                message: "the pattern of the field \"\(field.name)\" is not a regular expression: \(error)")
        }
    }

    private static func column(
        of name: String?, _ type: EventSchema.FieldType, _ use: String, in plans: [Plan]
    ) throws(IngestConfigurationError) -> Int? {
        guard let name else { return nil }
        guard let plan = plans.first(where: { $0.field.name == name }), plan.field.type == type else {
            let needed = type == .timestamp ? "a string of the format date-time" : "a string"
            throw IngestConfigurationError(
                message: "the field \"\(name)\" of input.\(use) must be \(needed) in the event schema")
        }
        return plan.bodyColumn
    }

    /// Checks row `row` against the constraints of the schema and fills one row of the body: `numbers` and `validity`
    /// by numeric field, `texts` (ranges of `columns.textBytes`) by text field.
    /// - Returns: the event time, when the contract names a field for it and the row has one. Float64 does not hold
    ///   every microsecond beyond the year 2255, an integer does.
    func read(
        _ row: Int, of columns: JSONColumns, numbers: inout [Double], validity: inout [UInt8],
        texts: inout [JSONSlice]
    ) throws(Rejection) -> Int64? {
        var eventTime: Int64?
        for index in steps.indices {
            let step = steps[index]
            let isPresent = columns.presence(row, field: index) == .present
            switch step.kind {
            case .text:
                let text = isPresent ? columns.text(row, column: step.jsonColumn) : JSONSlice(start: 0, length: -1)
                if isPresent, step.isConstrained || text.length > EventRecordEncoder.textBytesMax {
                    try check(columns.textBytes.span.bytes.extracting(text.range), plans[index])
                }
                texts[step.bodyColumn] = text
            case .time:
                validity[step.bodyColumn] = isPresent ? 1 : 0
                numbers[step.bodyColumn] = 0
                guard isPresent else { continue }
                let range = columns.text(row, column: step.jsonColumn).range
                let value = try time(
                    columns.textBytes.span.bytes.extracting(range), "the field \"\(plans[index].field.name)\"")
                numbers[step.bodyColumn] = Double(value)
                if step.bodyColumn == eventTimeColumn { eventTime = value }
            case .number:
                let value = columns.numbers[row * columns.numericCount + step.jsonColumn]
                validity[step.bodyColumn] = isPresent ? 1 : 0
                numbers[step.bodyColumn] = isPresent ? value : 0
                if isPresent, !(value >= step.minimum && value <= step.maximum) { try check(value, plans[index].field) }
            }
        }
        return eventTime
    }

    private func check(_ value: Double, _ field: EventSchema.Field) throws(Rejection) {
        if let minimum = field.minimum, field.isMinimumExclusive ? value <= minimum : value < minimum {
            let bound = field.isMinimumExclusive ? "greater than" : "at least"
            throw Rejection(
                .outOfRange,
                "the field \"\(field.name)\" is \(value), it must be \(bound) \(minimum): correct the value")
        }
        if let maximum = field.maximum, field.isMaximumExclusive ? value >= maximum : value > maximum {
            let bound = field.isMaximumExclusive ? "less than" : "at most"
            throw Rejection(
                .outOfRange,
                "the field \"\(field.name)\" is \(value), it must be \(bound) \(maximum): correct the value")
        }
    }

    private func check(_ text: RawSpan, _ plan: Plan) throws(Rejection) {
        let name = plan.field.name
        guard text.byteCount <= EventRecordEncoder.textBytesMax else {
            throw Rejection(
                .outOfRange,
                "the field \"\(name)\" has \(text.byteCount) bytes, at most \(EventRecordEncoder.textBytesMax) fit: shorten it"
            )
        }
        try checkLength(text, plan.field)
        if let enumeration = plan.enumeration, !enumeration.contains(where: { text.equals($0) }) {
            throw Rejection(
                .notInEnumeration,
                "the field \"\(name)\" is \(text.quoted), it must be one of \(Self.choices(plan.field.enumeration))")
        }
        if let pattern = plan.pattern {
            let string = text.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
            if (try? pattern.firstMatch(in: string)) == nil {
                throw Rejection(
                    .patternMismatch,
                    "the field \"\(name)\" is \(text.quoted), it must match \(plan.field.pattern ?? ""): correct the value"
                )
            }
        }
    }

    private func checkLength(_ text: RawSpan, _ field: EventSchema.Field) throws(Rejection) {
        guard field.lengthMin != nil || field.lengthMax != nil else { return }
        let count = text.characterCount
        if let lengthMin = field.lengthMin, count < lengthMin {
            throw Rejection(
                .outOfRange,
                "the field \"\(field.name)\" has \(count) characters, at least \(lengthMin) are needed: send the whole text"
            )
        }
        if let lengthMax = field.lengthMax, count > lengthMax {
            throw Rejection(
                .outOfRange,
                "the field \"\(field.name)\" has \(count) characters, at most \(lengthMax) are allowed: shorten it")
        }
    }

    private static func choices(_ enumeration: [String]?) -> String {
        let values = enumeration ?? []
        let shown = values.prefix(8).map { "\"\($0)\"" }.joined(separator: ", ")
        return values.count > 8 ? "\(shown), … (\(values.count) values)" : shown
    }
}

/// Reads an RFC 3339 date-time; `what` names it in the message.
func time(_ text: RawSpan, _ what: @autoclosure () -> String) throws(Rejection) -> Int64 {
    do {
        return try RFC3339.parse(text)
    } catch {
        throw Rejection(.badTime, "\(what()) is \(text.quoted), which is no RFC 3339 date-time: \(error)")
    }
}

extension JSONSlice {
    /// The bytes of a slice that is not null.
    var range: Range<Int> { start..<(start + length) }
}

extension RawSpan {
    /// Unicode characters (scalars) of valid UTF-8, as JSON Schema counts `maxLength`.
    fileprivate var characterCount: Int {
        var count = 0
        for index in 0..<byteCount where little(UInt8.self, at: index) & 0xc0 != 0x80 { count += 1 }
        return count
    }

    fileprivate func equals(_ other: [UInt8]) -> Bool {
        guard byteCount == other.count else { return false }
        for index in 0..<byteCount where little(UInt8.self, at: index) != other[index] { return false }
        return true
    }
}
