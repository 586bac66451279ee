// ModelData: the inputs of a model from files, and its outputs to files.

import Foundation
import Inference

/// Brings CSV and NumPy files to a model and its results back.
enum ModelData {
    /// The model's inputs from a file.
    ///
    /// - Parameter features: column names of a model with one matrix as its input; nil: a CSV file's columns in order.
    static func inputs(
        of session: InferenceSession, from path: String, features: [String]?
    ) throws(CommandFailure) -> [String: TensorValue] {
        if path.hasSuffix(".npy") || path.hasSuffix(".npz") {
            let arrays = try NumPyFile.read(path: path)
            var values: [String: TensorValue] = [:]
            for input in session.inputs {
                let isOnly = arrays.count == 1 && session.inputs.count == 1
                guard let array = arrays.first(where: { $0.name == input.name || isOnly }) else {
                    throw CommandFailure(
                        "\(path) has no array '\(input.name)': it has \(arrays.map(\.name).joined(separator: ", "))")
                }
                values[input.name] = try converted(array.value, to: input.type, "\(path), \(input.name)")
            }
            return values
        }
        let csv = try CSV(path: path)
        var values: [String: TensorValue] = [:]
        var next = 0
        for input in session.inputs {
            let width = input.shape.count > 1 ? Int(input.shape[1]) ?? 1 : 1
            var columns: [Int] = []
            for index in 0..<width {
                if let features, session.inputs.count == 1, index < features.count {
                    columns.append(try csv.index(of: features[index]))
                } else if width == 1, let own = csv.header.firstIndex(of: input.name) {
                    columns.append(own)
                } else {
                    guard next < csv.header.count else {
                        throw CommandFailure("\(path) has \(csv.header.count) columns, the model needs more")
                    }
                    columns.append(next)
                    next += 1
                }
            }
            let shape = input.shape.count > 1 ? [csv.rows.count, width] : [csv.rows.count]
            values[input.name] = try tensor(csv, columns, shape, input.type)
        }
        return values
    }

    private static func tensor(
        _ csv: CSV, _ columns: [Int], _ shape: [Int], _ type: ONNXElementType
    ) throws(CommandFailure) -> TensorValue {
        var texts: [String] = []
        var numbers: [Double] = []
        for (record, row) in csv.rows.enumerated() {
            for column in columns {
                let cell = row[column]
                if type == .string {
                    texts.append(cell)
                    continue
                }
                // An empty cell is a missing value.
                guard let value = cell.isEmpty ? .nan : Double(cell) else {
                    throw CommandFailure(
                        "\(csv.path), record \(record + 2), column \(csv.header[column]): '\(cell)' is no number")
                }
                numbers.append(value)
            }
        }
        if type == .string { return TensorValue(type: .string, shape: shape, elements: .texts(texts)) }
        let value = TensorValue(type: .double, shape: shape, elements: .doubles(numbers))
        return try converted(value, to: type, csv.path)
    }

    /// Numbers of another width become what the model takes.
    private static func converted(
        _ value: TensorValue, to type: ONNXElementType, _ place: String
    ) throws(CommandFailure) -> TensorValue {
        if value.type == type { return value }
        let numbers: [Double]
        switch value.elements {
        case .floats(let values): numbers = values.map { Double($0) }
        case .doubles(let values): numbers = values
        case .integers(let values): numbers = values.map { Double($0) }
        case .texts: throw CommandFailure("\(place): texts, the model takes \(type)")
        }
        switch type {
        case .float: return TensorValue(shape: value.shape, floats: numbers.map { Float($0) })
        case .double: return TensorValue(type: .double, shape: value.shape, elements: .doubles(numbers))
        case .string: throw CommandFailure("\(place): numbers, the model takes texts")
        default:
            let integers = numbers.map { Int64(exactly: $0.rounded(.towardZero)) ?? 0 }
            return TensorValue(type: type, shape: value.shape, elements: .integers(integers))
        }
    }

    /// Writes outputs as the file's name says.
    static func write(_ outputs: [(name: String, value: TensorValue)], to path: String) throws(CommandFailure) {
        let bytes: [UInt8]
        if path.hasSuffix(".npz") {
            bytes = NumPyFile.archive(outputs)
        } else if path.hasSuffix(".npy") {
            guard outputs.count == 1 else {
                throw CommandFailure("the model has \(outputs.count) outputs, a .npy file holds one: name a .npz file")
            }
            bytes = NumPyFile.encoded(outputs[0].value)
        } else if path.hasSuffix(".csv") {
            bytes = Array(csv(outputs).utf8)
        } else {
            throw CommandFailure.usage("--to \(path): the name must end in .csv, .npy or .npz")
        }
        guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
            throw CommandFailure("cannot write \(path)")
        }
    }

    private static func csv(_ outputs: [(name: String, value: TensorValue)]) -> String {
        let rows = outputs.map { $0.value.shape.first ?? 1 }.max() ?? 0
        var lines: [String] = []
        var header: [String] = []
        for (name, value) in outputs {
            let width = rows > 0 ? value.elements.count / rows : 0
            header += width == 1 ? [name] : (0..<width).map { "\(name)_\($0)" }
        }
        lines.append(header.joined(separator: ","))
        for row in 0..<rows {
            var cells: [String] = []
            for (_, value) in outputs {
                let width = value.elements.count / rows
                for index in row * width..<(row + 1) * width { cells.append(cell(value, index)) }
            }
            lines.append(cells.joined(separator: ","))
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func cell(_ value: TensorValue, _ index: Int) -> String {
        switch value.elements {
        case .floats(let values): return "\(values[index])"
        case .doubles(let values): return "\(values[index])"
        case .integers(let values): return "\(values[index])"
        case .texts(let values):
            let text = values[index]
            guard text.contains(where: { ",\"\n\r".contains($0) }) else { return text }
            return "\"\(text.replacing("\"", with: "\"\""))\""
        }
    }
}
