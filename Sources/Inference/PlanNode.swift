// PlanNode: a node with its attributes decoded, ready for the planner.

import Tensor

enum PlanAttribute {
    case float(Float)
    case int(Int64)
    case string(String)
    case constant(Constant)
    case floats(FloatBuffer)
    case ints([Int64])
    case strings([String])
    case unsupported
}

struct PlanNode {
    var name: String
    var operation: String
    var domain: String
    /// Version of the domain's operators that the model imports.
    var opset: Int
    var inputs: [String]
    var outputs: [String]
    var attributes: [String: PlanAttribute]

    /// `node 'fc1' (Gemm, ai.onnx 17)`
    var place: String {
        "node '\(name.isEmpty ? outputs.first ?? "" : name)' (\(operation), \(Self.shown(domain)) \(opset))"
    }

    static func shown(_ domain: String) -> String { domain.isEmpty ? "ai.onnx" : domain }

    func error(_ code: ONNXError.Code, _ message: String) -> ONNXError { ONNXError(code, "\(place): \(message)") }

    // MARK: Attributes

    private func wrongType(_ name: String) -> ONNXError {
        error(.invalidGraph, "the attribute '\(name)' has the wrong type")
    }

    func float(_ name: String, default value: Float) throws -> Float {
        switch attributes[name] {
        case .none: return value
        case .float(let number): return number
        default: throw wrongType(name)
        }
    }

    func int(_ name: String, default value: Int) throws -> Int {
        switch attributes[name] {
        case .none: return value
        case .int(let number): return Int(clamping: number)
        default: throw wrongType(name)
        }
    }

    func string(_ name: String, default value: String) throws -> String {
        switch attributes[name] {
        case .none: return value
        case .string(let text): return text
        default: throw wrongType(name)
        }
    }

    func ints(_ name: String) throws -> [Int64]? {
        switch attributes[name] {
        case .none: return nil
        case .ints(let numbers): return numbers
        default: throw wrongType(name)
        }
    }

    func floats(_ name: String) throws -> FloatBuffer? {
        switch attributes[name] {
        case .none: return nil
        case .floats(let numbers): return numbers
        default: throw wrongType(name)
        }
    }

    func strings(_ name: String) throws -> [String]? {
        switch attributes[name] {
        case .none: return nil
        case .strings(let texts): return texts
        default: throw wrongType(name)
        }
    }
}
