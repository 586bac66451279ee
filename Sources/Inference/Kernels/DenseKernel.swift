// DenseKernel: a product with constant weights, a bias and a rectifier in one step.

import Tensor

/// `out = activation(in * weights + bias)` for every row; `in` may have several vectors of `inputs` elements per row.
struct DenseKernel: Kernel {
    let source: Int
    let target: Int
    let inputs: Int
    let outputs: Int
    /// Vectors per row of the batch; 1 for the usual two-dimensional case.
    let vectorsPerRow: Int
    /// `inputs x outputs`, row-major.
    let weights: FloatBuffer
    var bias: FloatBuffer?
    var isRectified = false

    var summary: String {
        "dense \(inputs)x\(outputs)" + (bias == nil ? "" : " + bias") + (isRectified ? " + relu" : "")
    }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        let vectors = rows * vectorsPerRow
        workspace.read(source, vectors * inputs, input: input) { source in
            workspace.write(target, vectors * outputs) { target in
                weights.withSpan { weights in
                    BLAS.gemm(m: vectors, n: outputs, k: inputs, a: source, b: weights, c: &target)
                }
                if let bias {
                    bias.withSpan { bias in
                        if isRectified {
                            Elementwise.addRowsRelu(&target, columns: outputs, bias)
                        } else {
                            Elementwise.addRows(&target, columns: outputs, bias)
                        }
                    }
                } else if isRectified {
                    Elementwise.relu(&target)
                }
            }
        }
    }
}
