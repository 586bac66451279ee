// JSONColumnDecoder: JSON documents of a batch into columns, with one call into simdjson.

import CSimdJSON

/// Why a whole batch could not be decoded; a wrong document is no such reason.
public enum JSONColumnsError: Error, Sendable, CustomStringConvertible {
    case outOfMemory

    public var description: String {
        "no memory is left for decoding JSON: lower the batch's or the documents' limit of bytes"
    }
}

/// Decodes batches of flat JSON objects. One instance serves one thread; it keeps its parser and its columns, so that
/// nothing is allocated once both have grown to the largest batch.
@safe public final class JSONColumnDecoder {
    public let schema: JSONSchema
    /// The batch decoded last.
    public private(set) var columns: JSONColumns
    /// Owned by this object alone; freed in deinit.
    private let handle: OpaquePointer

    /// - Throws: `JSONColumnsError.outOfMemory`.
    public init(_ schema: JSONSchema) throws(JSONColumnsError) {
        self.schema = schema
        columns = JSONColumns(schema: schema)
        // The names stand back to back in one array, whose pointer lives as long as the call; C copies them.
        var names: [CChar] = []
        for field in schema.fields { names.append(contentsOf: field.name.utf8.map { CChar(bitPattern: $0) }) }
        names.append(0)
        let created = unsafe names.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            guard let base = buffer.baseAddress else { return nil }
            var start = 0
            var fields: [penstock_json_field] = unsafe []
            for field in schema.fields {
                let length = field.name.utf8.count
                unsafe fields.append(
                    penstock_json_field(
                        name: base + start, name_length: length, type: Self.code(of: field.type),
                        is_required: field.isRequired ? 1 : 0, is_nullable: field.isNullable ? 1 : 0))
                start += length
            }
            // A schema without fields still needs an address.
            unsafe fields.append(
                penstock_json_field(name: base, name_length: 0, type: 0, is_required: 0, is_nullable: 0))
            return unsafe penstock_json_create(
                fields, schema.fields.count, Self.code(of: schema.unknownFields), schema.bytesMax, schema.depthMax)
        }
        guard let created = unsafe created else { throw .outOfMemory }
        unsafe handle = created
    }

    deinit { unsafe penstock_json_destroy(handle) }

    /// Decodes `values`, ranges of `arena`, into `columns`: row r is `values[r]`. A null or empty range is the fault
    /// `empty`. Nothing beyond a range is read.
    public func decode(_ values: [JSONSlice], of arena: RawSpan) throws(JSONColumnsError) {
        var bytes = 0
        for value in values where value.length > 0 {
            precondition(value.start >= 0 && value.start + value.length <= arena.byteCount, "a value outside the arena")
            bytes += value.length
        }
        columns.rowCount = 0
        columns.reserve(rows: values.count, bytes: bytes)
        guard !values.isEmpty, decodeAll(values, arena) else {
            if values.isEmpty { return }
            throw .outOfMemory
        }
        columns.rowCount = values.count
    }

    private func decodeAll(_ values: [JSONSlice], _ arena: RawSpan) -> Bool {
        // Five arrays of one struct cannot be lent at once, so they move out and back in; nothing is copied.
        var (numbers, presence, texts) = (columns.numbers, columns.presence, columns.texts)
        var (textBytes, faults) = (columns.textBytes, columns.faults)
        columns.removeAll()
        defer { columns.restore(numbers, presence, texts, textBytes, faults) }
        // Every pointer lives as long as the call. `reserve` made each column large enough for all rows, and the Swift
        // structs that are rebound have the fields of their C twins, in order.
        return unsafe arena.withUnsafeBytes { input in
            unsafe values.withUnsafeBytes { slices in
                unsafe numbers.withUnsafeMutableBufferPointer { numbers in
                    unsafe presence.withUnsafeMutableBufferPointer { presence in
                        unsafe texts.withUnsafeMutableBytes { texts in
                            unsafe textBytes.withUnsafeMutableBufferPointer { textBytes in
                                unsafe faults.withUnsafeMutableBytes { faults in
                                    unsafe call(input, slices, numbers, presence, texts, textBytes, faults)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    private func call(
        _ input: UnsafeRawBufferPointer, _ values: UnsafeRawBufferPointer,
        _ numbers: UnsafeMutableBufferPointer<Double>, _ presence: UnsafeMutableBufferPointer<UInt8>,
        _ texts: UnsafeMutableRawBufferPointer, _ textBytes: UnsafeMutableBufferPointer<UInt8>,
        _ faults: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let slices = unsafe values.assumingMemoryBound(to: penstock_json_slice.self)
        guard let slicesBase = slices.baseAddress, let numbersBase = numbers.baseAddress,
            let presenceBase = presence.baseAddress, let textBytesBase = textBytes.baseAddress,
            let textsBase = unsafe texts.assumingMemoryBound(to: penstock_json_slice.self).baseAddress,
            let faultsBase = unsafe faults.assumingMemoryBound(to: penstock_json_error.self).baseAddress
        else { return false }
        var out = unsafe penstock_json_columns(
            numbers: numbersBase, presence: presenceBase, texts: textsBase, text_bytes: textBytesBase,
            errors: faultsBase)
        // An empty arena has no address; then all values are empty and nothing is read through this one.
        let arena = unsafe input.assumingMemoryBound(to: UInt8.self).baseAddress ?? UnsafePointer(textBytesBase)
        return unsafe penstock_json_decode(handle, arena, slicesBase, slices.count, &out) == 0
    }

    private static func code(of type: JSONSchema.FieldType) -> UInt8 {
        switch type {
        case .number: UInt8(penstock_json_number)
        case .integer: UInt8(penstock_json_integer)
        case .boolean: UInt8(penstock_json_boolean)
        case .string: UInt8(penstock_json_string)
        case .raw: UInt8(penstock_json_raw)
        }
    }

    private static func code(of unknown: JSONSchema.UnknownFields) -> UInt8 {
        switch unknown {
        case .reject: UInt8(penstock_json_unknown_reject)
        case .ignore: UInt8(penstock_json_unknown_ignore)
        case .cloudEventsExtensions: UInt8(penstock_json_unknown_attribute)
        }
    }
}
