// Support: a seeded random source, and documents into rows.

import JSONColumns
import Testing

/// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): the same numbers for the same seed, everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// What became of one document.
enum Outcome: Equatable {
    case row([String: Value])
    case fault(JSONFault.Code, field: String?, position: Int?)

    var code: JSONFault.Code? {
        if case .fault(let code, _, _) = self { return code }
        return nil
    }
}

enum Value: Equatable {
    case null
    case number(Double)
    case text(String)
}

func schema(
    _ fields: [JSONSchema.Field], unknown: JSONSchema.UnknownFields = .reject, bytesMax: Int = 65_536, depthMax: Int = 8
) -> JSONSchema {
    JSONSchema(fields: fields, unknownFields: unknown, bytesMax: bytesMax, depthMax: depthMax)
}

/// Lays the documents back to back in one arena, without anything between or behind them, and decodes them.
func decode(_ documents: [[UInt8]], with decoder: JSONColumnDecoder) throws -> [Outcome] {
    var arena: [UInt8] = []
    var values: [JSONSlice] = []
    for document in documents {
        values.append(JSONSlice(start: arena.count, length: document.count))
        arena += document
    }
    try decoder.decode(values, of: arena.span.bytes)
    return documents.indices.map { outcome($0, of: decoder, arena: arena) }
}

private func outcome(_ row: Int, of decoder: JSONColumnDecoder, arena: [UInt8]) -> Outcome {
    let columns = decoder.columns
    let fields = decoder.schema.fields
    if let fault = columns.fault(row) {
        return .fault(fault.code, field: fault.field.map { fields[$0].name }, position: fault.position)
    }
    var values: [String: Value] = [:]
    var (number, text) = (0, 0)
    for (index, field) in fields.enumerated() {
        let presence = columns.presence(row, field: index)
        if field.type.isNumeric {
            if presence == .present {
                values[field.name] = .number(columns.numbers[row * columns.numericCount + number])
            }
            number += 1
        } else {
            let slice = columns.text(row, column: text)
            let bytes = field.type == .raw ? arena : columns.textBytes
            if presence == .present {
                values[field.name] = .text(
                    String(decoding: bytes[slice.start..<slice.start + slice.length], as: UTF8.self))
            }
            text += 1
        }
        if presence == .null { values[field.name] = .null }
    }
    return .row(values)
}

func decode(_ document: String, with decoder: JSONColumnDecoder) throws -> Outcome {
    try #require(decode([Array(document.utf8)], with: decoder).first)
}

/// The message of the fault of one document.
func message(_ document: String, with decoder: JSONColumnDecoder) throws -> String {
    let bytes = Array(document.utf8)
    _ = try decode([bytes], with: decoder)
    let fault = try #require(decoder.columns.fault(0))
    return fault.message(in: bytes.span.bytes, schema: decoder.schema)
}
