// ONNXReader+Tensor: TensorProto and repeated scalars.

extension ONNXReader {
    /// Reads shape and type of a tensor and checks that its values are in the file.
    func tensor(_ message: Range<Int>, _ bytes: RawSpan) throws(ONNXError) -> ONNXTensor {
        var tensor = ONNXTensor(message: message)
        var typeNumber = 0
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1:
                try scalars(field, bytes) { value throws(ONNXError) in
                    try require(tensor.dims.count < limits.tensorRankMax, "tensorRankMax", limits.tensorRankMax)
                    let size = Int64(bitPattern: value)
                    guard size >= 0 else { throw ONNXError(.malformed, "a tensor with the negative dimension \(size)") }
                    try require(size <= Int64(limits.tensorElementsMax), "tensorElementsMax", limits.tensorElementsMax)
                    tensor.dims.append(Int(size))
                }
            case 2: typeNumber = Int(clamping: Int64(bitPattern: try varint(field)))
            case 3: throw ONNXError(.unsupported, "a tensor stored in segments: save the model again")
            case 8:
                let range = try block(field)
                try require(range.count <= limits.nameBytesMax, "nameBytesMax", limits.nameBytesMax)
                tensor.name = bytes.text(range)
            case 13:
                var external = tensor.external ?? ONNXExternalData()
                try entry(block(field), bytes, into: &external)
                tensor.external = external
            default: break
            }
        }
        guard let type = ONNXElementType(rawValue: typeNumber) else {
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' has element type number \(typeNumber)")
        }
        tensor.type = type
        var count = 1
        // A dimension of 0 must not hide what the others multiply to.
        for size in tensor.dims {
            let (product, overflow) = count.multipliedReportingOverflow(by: max(size, 1))
            try require(!overflow && product <= limits.tensorElementsMax, "tensorElementsMax", limits.tensorElementsMax)
            count = product
        }
        // Every element takes at least a byte of the message, so a lie about the shape cannot make us allocate.
        guard tensor.count <= message.count || tensor.external != nil else {
            throw ONNXError(
                .malformed, "tensor '\(tensor.name)' declares \(count) elements, its message has \(message.count) bytes"
            )
        }
        return tensor
    }

    /// One pair of `external_data`.
    private func entry(
        _ message: Range<Int>, _ bytes: RawSpan, into external: inout ONNXExternalData
    ) throws(ONNXError) {
        var key = ""
        var value = ""
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            let range = try block(field)
            try require(range.count <= limits.nameBytesMax, "nameBytesMax", limits.nameBytesMax)
            if field.number == 1 { key = bytes.text(range) }
            if field.number == 2 { value = bytes.text(range) }
        }
        switch key {
        case "location": external.location = value
        case "offset", "length":
            guard let number = Int(value), number >= 0 else {
                throw ONNXError(.malformed, "external data with the \(key) '\(value)'")
            }
            if key == "offset" { external.offset = number } else { external.length = number }
        default: break
        }
    }

    /// Where the values of a tensor stand as plain little-endian numbers of the type's width; nil when they are spread
    /// over fields of another encoding.
    func plain(_ tensor: ONNXTensor, _ bytes: RawSpan) throws(ONNXError) -> Range<Int>? {
        guard let width = tensor.type.byteCount else { return nil }
        var found: Range<Int>?
        var reader = WireReader(tensor.message)
        while let field = try reader.next(bytes) {
            let isPacked =
                field.number == 9 || (field.number == 4 && tensor.type == .float)
                || (field.number == 10 && tensor.type == .double)
            guard isPacked, field.kind != .varint, !field.range.isEmpty || field.number == 9 else { continue }
            guard found == nil, field.range.count == tensor.count * width else { return nil }
            found = field.range
        }
        return found
    }

    /// Calls `body` with the bits of each number of a tensor, in order; integers are sign-extended.
    func numbers(_ tensor: ONNXTensor, _ bytes: RawSpan, _ body: (UInt64) throws(ONNXError) -> Void) throws(ONNXError) {
        guard let width = tensor.type.byteCount else {
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' of type \(tensor.type) is used as numbers")
        }
        var count = 0
        func take(_ value: UInt64) throws(ONNXError) {
            guard count < tensor.count else { throw wrongCount(tensor) }
            count += 1
            try body(value)
        }
        var reader = WireReader(tensor.message)
        while let field = try reader.next(bytes) {
            let isPlain = field.number == 9 || field.number == 4 || field.number == 10
            if isPlain {
                guard field.kind != .varint, field.range.count % width == 0 else { throw wrongKind(field) }
                guard field.number == 9 || tensor.type.isFloatingPoint else { throw wrongKind(field) }
                for start in stride(from: field.range.lowerBound, to: field.range.upperBound, by: width) {
                    try take(Self.word(bytes, start, width: width, isSigned: tensor.type.isSigned))
                }
            } else if field.number == 5 || field.number == 7 || field.number == 11 {
                try scalars(field, bytes) { value throws(ONNXError) in try take(value) }
            }
        }
        guard count == tensor.count else { throw wrongCount(tensor) }
    }

    /// A little-endian number of `width` bytes.
    static func word(_ bytes: RawSpan, _ start: Int, width: Int, isSigned: Bool) -> UInt64 {
        var word: UInt64 = 0
        for byte in 0..<width { word |= UInt64(bytes.byte(start + byte)) << UInt64(8 * byte) }
        let shift = Int64(64 - 8 * width)
        return isSigned ? UInt64(bitPattern: Int64(bitPattern: word << UInt64(shift)) >> shift) : word
    }

    /// Number of floats (field 7) or integers (field 8) of a repeated field.
    func count(_ repeated: ONNXRepeated, _ bytes: RawSpan) throws(ONNXError) -> Int {
        var count = 0
        try forEach(repeated, bytes) { _ in count += 1 }
        return count
    }

    /// Calls `body` with the bits of each number of a repeated field, packed or not.
    func forEach(
        _ repeated: ONNXRepeated, _ bytes: RawSpan, _ body: (UInt64) throws(ONNXError) -> Void
    ) throws(ONNXError) {
        var reader = WireReader(repeated.message)
        while let field = try reader.next(bytes) {
            guard field.number == repeated.field else { continue }
            if repeated.field == 7 {
                guard field.kind != .varint, field.range.count % 4 == 0 else { throw wrongKind(field) }
                for start in stride(from: field.range.lowerBound, to: field.range.upperBound, by: 4) {
                    try body(Self.word(bytes, start, width: 4, isSigned: false))
                }
            } else {
                try scalars(field, bytes, body)
            }
        }
    }

    /// Calls `body` with each number of a repeated varint field, which may be packed or not.
    private func scalars(
        _ field: WireField, _ bytes: RawSpan, _ body: (UInt64) throws(ONNXError) -> Void
    ) throws(ONNXError) {
        switch field.kind {
        case .varint: try body(field.value)
        case .block:
            var reader = WireReader(field.range)
            while !reader.isAtEnd { try body(reader.varint(bytes)) }
        case .fixed32, .fixed64: throw wrongKind(field)
        }
    }

    private func wrongCount(_ tensor: ONNXTensor) -> ONNXError {
        ONNXError(
            .malformed,
            "tensor '\(tensor.name)' has not as many values as its shape \(tensor.dims) needs: \(tensor.count)")
    }
}

extension ONNXReader {
    /// The values of a string tensor.
    func strings(_ tensor: ONNXTensor, _ bytes: RawSpan) throws(ONNXError) -> [String] {
        var values: [String] = []
        var reader = WireReader(tensor.message)
        while let field = try reader.next(bytes) {
            guard field.number == 6 else { continue }
            values.append(bytes.text(try block(field)))
        }
        guard values.count == tensor.count else {
            throw ONNXError(.malformed, "tensor '\(tensor.name)' has \(values.count) texts, its shape \(tensor.dims)")
        }
        return values
    }
}
