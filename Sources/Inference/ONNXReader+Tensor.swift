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
            case 13, 14:
                guard field.number == 13 || field.value != 0 else { continue }
                throw ONNXError(
                    .unsupported, "the model keeps weights in another file (external data): save it as a single file")
            default: break
            }
        }
        guard let type = ONNXElementType(rawValue: typeNumber) else {
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' has element type number \(typeNumber)")
        }
        tensor.type = type
        var count = 1
        for size in tensor.dims {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            try require(!overflow && product <= limits.tensorElementsMax, "tensorElementsMax", limits.tensorElementsMax)
            count = product
        }
        // Every element takes at least a byte of the message, so a lie about the shape cannot make us allocate.
        guard count <= message.count else {
            throw ONNXError(
                .malformed, "tensor '\(tensor.name)' declares \(count) elements, its message has \(message.count) bytes"
            )
        }
        return tensor
    }

    /// The values of a float or double tensor as Float32, written to `target`, which has the tensor's count.
    func floats(_ tensor: ONNXTensor, _ bytes: RawSpan, into target: inout MutableSpan<Float>) throws(ONNXError) {
        guard tensor.type == .float || tensor.type == .double else {
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' of type \(tensor.type) is used as numbers")
        }
        let isDouble = tensor.type == .double
        var filled = 0
        var reader = WireReader(tensor.message)
        while let field = try reader.next(bytes) {
            let isValue = field.number == 9 || field.number == (isDouble ? 10 : 4)
            guard isValue else { continue }
            let width = isDouble ? 8 : 4
            guard field.kind != .varint, field.range.count % width == 0 else { throw wrongKind(field) }
            guard field.range.count / width <= target.count - filled else { throw wrongCount(tensor) }
            for offset in stride(from: field.range.lowerBound, to: field.range.upperBound, by: width) {
                target[filled] = isDouble ? Float(bytes.double(offset)) : bytes.float(offset)
                filled += 1
            }
        }
        guard filled == target.count else { throw wrongCount(tensor) }
    }

    /// The values of an integer or boolean tensor.
    func integers(_ tensor: ONNXTensor, _ bytes: RawSpan) throws(ONNXError) -> [Int64] {
        guard let width = tensor.type.byteCount, !tensor.type.isFloatingPoint else {
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' of type \(tensor.type) is used as integers")
        }
        let isSigned = [.int8, .int16, .int32, .int64].contains(tensor.type)
        var values: [Int64] = []
        values.reserveCapacity(tensor.count)
        var reader = WireReader(tensor.message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 5, 7, 11:
                try scalars(field, bytes) { value throws(ONNXError) in
                    guard values.count < tensor.count else { throw wrongCount(tensor) }
                    values.append(Int64(bitPattern: value))
                }
            case 9:
                let range = try block(field)
                guard range.count % width == 0, range.count / width <= tensor.count - values.count else {
                    throw wrongCount(tensor)
                }
                for start in stride(from: range.lowerBound, to: range.upperBound, by: width) {
                    var word: UInt64 = 0
                    for byte in 0..<width { word |= UInt64(bytes.byte(start + byte)) << UInt64(8 * byte) }
                    let shift = Int64(64 - 8 * width)
                    values.append(
                        isSigned ? Int64(bitPattern: word << UInt64(shift)) >> shift : Int64(bitPattern: word))
                }
            default: break
            }
        }
        guard values.count == tensor.count else { throw wrongCount(tensor) }
        return values
    }

    /// Number of floats of a repeated field.
    func count(_ repeated: ONNXRepeated, _ bytes: RawSpan) throws(ONNXError) -> Int {
        var count = 0
        var reader = WireReader(repeated.message)
        while let field = try reader.next(bytes) {
            guard field.number == repeated.field else { continue }
            guard field.kind != .varint, field.range.count % 4 == 0 else { throw wrongKind(field) }
            count += field.range.count / 4
        }
        return count
    }

    /// The floats of a repeated field, packed or not, written to `target`, which has `count` elements.
    func floats(_ repeated: ONNXRepeated, _ bytes: RawSpan, into target: inout MutableSpan<Float>) throws(ONNXError) {
        var filled = 0
        var reader = WireReader(repeated.message)
        while let field = try reader.next(bytes) {
            guard field.number == repeated.field else { continue }
            for offset in stride(from: field.range.lowerBound, to: field.range.upperBound, by: 4) {
                target[filled] = bytes.float(offset)
                filled += 1
            }
        }
    }

    func integers(_ repeated: ONNXRepeated, _ bytes: RawSpan) throws(ONNXError) -> [Int64] {
        var values: [Int64] = []
        var reader = WireReader(repeated.message)
        while let field = try reader.next(bytes) {
            guard field.number == repeated.field else { continue }
            try scalars(field, bytes) { value throws(ONNXError) in values.append(Int64(bitPattern: value)) }
        }
        return values
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
