// Constant: a value known when the model is loaded, and symbolic sizes.

import Tensor

/// An initialiser or the result of folding.
struct Constant {
    enum Storage {
        /// Float32, little-endian, still in the model's bytes; valid while the plan is made.
        case view(UnsafeRawBufferPointer)
        case floats(ModelArray<Float>)
        case doubles(ModelArray<Double>)
        /// Integers and truth values; for texts their numbers in the plan's table.
        case integers(ModelArray<Int64>)
    }

    var shape: [Int]
    var type: ONNXElementType
    var storage: Storage

    var count: Int { shape.reduce(1, *) }
}

/// A size that may depend on the batch: `fixed + batch * N`.
struct SymbolicSize: Equatable {
    var fixed: Int
    var batch: Int

    static func + (left: Self, right: Self) -> Self {
        Self(fixed: left.fixed &+ right.fixed, batch: left.batch &+ right.batch)
    }

    static func - (left: Self, right: Self) -> Self {
        Self(fixed: left.fixed &- right.fixed, batch: left.batch &- right.batch)
    }

    /// Nil when the product is not linear in N.
    static func * (left: Self, right: Self) -> Self? {
        if right.batch == 0 { return Self(fixed: left.fixed &* right.fixed, batch: left.batch &* right.fixed) }
        if left.batch == 0 { return Self(fixed: right.fixed &* left.fixed, batch: right.batch &* left.fixed) }
        return nil
    }
}

/// How a runtime value is kept.
enum StorageKind: Sendable {
    case float, double, integer

    var byteCount: Int { self == .float ? 4 : 8 }
}

extension ONNXElementType {
    /// Nil when the engine does not compute in this type.
    var storage: StorageKind? {
        switch self {
        case .float: .float
        case .double: .double
        case .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .bool, .string: .integer
        case .float16: nil
        }
    }
}

/// A value computed at run time. Several may share one place: reshaping changes the shape alone.
struct RuntimeValue: Sendable {
    /// Index into the plan's places.
    var id: Int
    var shape: Shape
    var type: ONNXElementType

    /// Types without storage are refused when a value is made.
    var storage: StorageKind { type.storage ?? .float }
}

enum PlanValue {
    case constant(Constant)
    case runtime(RuntimeValue)
    /// Sizes of a shape, of which some depend on the batch; a vector, or a scalar when `isScalar`.
    case sizes([SymbolicSize], isScalar: Bool)
}
