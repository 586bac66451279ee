// BLAS: OpenBLAS matrix products with checked dimensions.

import COpenBLAS

/// Single-precision matrix products on OpenBLAS.
///
/// A row of a product may differ in its last bits with the number of rows around it, because OpenBLAS chooses its kernel
/// by shape. For rows of up to a few thousand terms the difference stays below 1e-6 of the sum of the terms' magnitudes.
public enum BLAS {
    /// Sets the number of threads of every later product, for the whole process. Consumers use one: their parallelism
    /// comes from partitions.
    public static func setThreads(_ count: Int) {
        precondition(count > 0, "at least one thread")
        openblas_set_num_threads(Int32(clamping: count))
    }

    /// The kernel family OpenBLAS chose for this processor, such as `SkylakeX`. The environment's
    /// `OPENBLAS_CORETYPE` overrides the choice; `Haswell` on an AVX-512 machine halves the speed.
    public static var coreType: String {
        // A static string of the library.
        guard let name = unsafe openblas_get_corename() else { return "unknown" }
        return unsafe String(cString: name)
    }

    /// What to tell the operator when the environment overrides OpenBLAS's own choice of kernels; nil when it does not.
    ///
    /// The variable is read when the library is loaded, before `main`, so a process cannot mend it for itself.
    public static func coreTypeNotice(environment: [String: String]) -> String? {
        guard let value = environment["OPENBLAS_CORETYPE"], !value.isEmpty else { return nil }
        return "OPENBLAS_CORETYPE=\(value) is set: OpenBLAS runs its \(coreType) kernels, which may be half as fast as "
            + "those it would choose itself. Unset the variable before the process starts."
    }

    /// OpenBLAS's version and build options in one line.
    public static var configuration: String {
        // A static string of the library.
        guard let text = unsafe openblas_get_config() else { return "unknown" }
        return unsafe String(cString: text)
    }

    /// `c = alpha * op(a) * op(b) + beta * c`, row-major and dense.
    ///
    /// - Parameters:
    ///   - m: rows of `op(a)` and `c`.
    ///   - n: columns of `op(b)` and `c`.
    ///   - k: columns of `op(a)`, rows of `op(b)`.
    ///   - a: `m x k`, or `k x m` when transposed. Longer spans are allowed, the rest is not read.
    ///   - b: `k x n`, or `n x k` when transposed.
    ///   - c: `m x n`. With `beta` 0 its old content is not read.
    public static func gemm(
        m: Int, n: Int, k: Int, alpha: Float = 1, a: Span<Float>, transposeA: Bool = false, b: Span<Float>,
        transposeB: Bool = false, beta: Float = 0, c: inout MutableSpan<Float>
    ) {
        precondition(m >= 0 && n >= 0 && k >= 0, "a negative dimension")
        precondition(m <= Int(Int32.max) && n <= Int(Int32.max) && k <= Int(Int32.max), "a dimension over 2^31")
        precondition(a.count >= m * k, "matrix a has \(a.count) elements, \(m) x \(k) are needed")
        precondition(b.count >= k * n, "matrix b has \(b.count) elements, \(k) x \(n) are needed")
        precondition(c.count >= m * n, "matrix c has \(c.count) elements, \(m) x \(n) are needed")
        guard m > 0 && n > 0 else { return }
        // OpenBLAS returns early on k = 0 and would leave c unscaled.
        guard k > 0 else {
            for i in 0..<m * n { c[i] = beta == 0 ? 0 : c[i] * beta }
            return
        }
        // The pointers live for the call only; the checks above cover what it reads and writes.
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    unsafe cblas_sgemm(
                        CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
                        Int32(m), Int32(n), Int32(k), alpha, a.baseAddress, Int32(transposeA ? m : k), b.baseAddress,
                        Int32(transposeB ? k : n), beta, c.baseAddress, Int32(n))
                }
            }
        }
    }

    /// `c = alpha * op(a) * op(b) + beta * c` on matrices; their shapes must fit.
    public static func gemm(
        alpha: Float = 1, _ a: Matrix, transposeA: Bool = false, _ b: Matrix, transposeB: Bool = false,
        beta: Float = 0, into c: inout Matrix
    ) {
        let (m, k) = transposeA ? (a.columns, a.rows) : (a.rows, a.columns)
        let (inner, n) = transposeB ? (b.columns, b.rows) : (b.rows, b.columns)
        precondition(inner == k, "the inner dimensions are \(k) and \(inner)")
        precondition(c.rows == m && c.columns == n, "the product is \(m) x \(n), the target \(c.rows) x \(c.columns)")
        a.withSpan { a in
            b.withSpan { b in
                c.withMutableSpan { c in
                    gemm(
                        m: m, n: n, k: k, alpha: alpha, a: a, transposeA: transposeA, b: b, transposeB: transposeB,
                        beta: beta, c: &c)
                }
            }
        }
    }

    /// `op(a) * op(b)` as a new matrix.
    public static func product(_ a: Matrix, transposeA: Bool = false, _ b: Matrix, transposeB: Bool = false) -> Matrix {
        var c = Matrix(rows: transposeA ? a.columns : a.rows, columns: transposeB ? b.rows : b.columns)
        gemm(a, transposeA: transposeA, b, transposeB: transposeB, into: &c)
        return c
    }

    /// `y = alpha * op(a) * x + beta * y` with the row-major `rows x columns` matrix `a`.
    public static func gemv(
        rows: Int, columns: Int, alpha: Float = 1, a: Span<Float>, transposeA: Bool = false, x: Span<Float>,
        beta: Float = 0, y: inout MutableSpan<Float>
    ) {
        precondition(rows > 0 && columns > 0, "an empty matrix")
        precondition(rows <= Int(Int32.max) && columns <= Int(Int32.max), "a dimension over 2^31")
        precondition(a.count >= rows * columns, "the matrix has \(a.count) elements, \(rows) x \(columns) are needed")
        let (outputs, inputs) = transposeA ? (columns, rows) : (rows, columns)
        precondition(x.count >= inputs, "vector x has \(x.count) elements, \(inputs) are needed")
        precondition(y.count >= outputs, "vector y has \(y.count) elements, \(outputs) are needed")
        // The pointers live for the call only; the checks above cover what it reads and writes.
        unsafe a.withUnsafeBufferPointer { a in
            unsafe x.withUnsafeBufferPointer { x in
                unsafe y.withUnsafeMutableBufferPointer { y in
                    unsafe cblas_sgemv(
                        CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, Int32(rows), Int32(columns), alpha,
                        a.baseAddress, Int32(columns), x.baseAddress, 1, beta, y.baseAddress, 1)
                }
            }
        }
    }

    /// `y += alpha * x`.
    public static func axpy(alpha: Float, x: Span<Float>, y: inout MutableSpan<Float>) {
        precondition(x.count == y.count && x.count <= Int(Int32.max), "the vectors differ in length")
        // The pointers live for the call only.
        unsafe x.withUnsafeBufferPointer { x in
            unsafe y.withUnsafeMutableBufferPointer { y in
                unsafe cblas_saxpy(Int32(x.count), alpha, x.baseAddress, 1, y.baseAddress, 1)
            }
        }
    }
}
