// PlanNode: a node with its attributes decoded, ready for the planner.

import Tensor

struct PlanNode {
    var name: String
    var operation: String
    var domain: String
    /// Version of the domain's operators that the model imports.
    var opset: Int
    var inputs: [String]
    var outputs: [String]
    var attributes: [String: ONNXAttribute]

    /// `node 'fc1' (Gemm, ai.onnx 17)`
    var place: String {
        "node '\(name.isEmpty ? outputs.first ?? "" : name)' (\(operation), \(Self.shown(domain)) \(opset))"
    }

    static func shown(_ domain: String) -> String { domain.isEmpty ? "ai.onnx" : domain }

    func error(_ code: ONNXError.Code, _ message: String) -> ONNXError { ONNXError(code, "\(place): \(message)") }

    func hasInput(_ index: Int) -> Bool { index < inputs.count && !inputs[index].isEmpty }

    func has(_ name: String) -> Bool { attributes[name] != nil }

    private func wrongType(_ name: String) -> ONNXError {
        error(.invalidGraph, "the attribute '\(name)' has the wrong type")
    }

    func float(_ name: String, default value: Float) throws(ONNXError) -> Float {
        switch attributes[name] {
        case .none: return value
        case .float(let number): return number
        default: throw wrongType(name)
        }
    }

    func int(_ name: String, default value: Int) throws(ONNXError) -> Int {
        switch attributes[name] {
        case .none: return value
        case .int(let number): return Int(clamping: number)
        default: throw wrongType(name)
        }
    }

    func string(_ name: String, default value: String) throws(ONNXError) -> String {
        switch attributes[name] {
        case .none: return value
        case .string(let text): return text
        default: throw wrongType(name)
        }
    }

    func ints(_ name: String) throws(ONNXError) -> ONNXRepeated? {
        switch attributes[name] {
        case .none: return nil
        case .ints(let numbers): return numbers
        default: throw wrongType(name)
        }
    }

    func floats(_ name: String) throws(ONNXError) -> ONNXRepeated? {
        switch attributes[name] {
        case .none: return nil
        case .floats(let numbers): return numbers
        default: throw wrongType(name)
        }
    }

    func strings(_ name: String) throws(ONNXError) -> [String]? {
        switch attributes[name] {
        case .none: return nil
        case .strings(let texts): return texts
        default: throw wrongType(name)
        }
    }

    func tensor(_ name: String) throws(ONNXError) -> ONNXTensor? {
        switch attributes[name] {
        case .none: return nil
        case .tensor(let tensor): return tensor
        default: throw wrongType(name)
        }
    }
}
