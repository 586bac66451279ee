// TensorTests: products, elementwise functions and reductions against plain loops.

import Foundation
import Tensor
import Testing

@Suite("Tensor")
struct TensorTests {
    private func random(_ rows: Int, _ columns: Int, seed: UInt64) -> Matrix {
        var generator = SeededGenerator(seed: seed)
        return Matrix(
            rows: rows, columns: columns,
            elements: (0..<rows * columns).map { _ in Float.random(in: -1...1, using: &generator) })
    }

    @Test(
        "A product equals the sum of products, with either side transposed and for odd shapes",
        arguments: [(1, 1, 1), (1, 64, 30), (3, 5, 7), (17, 2, 33), (64, 64, 64), (130, 9, 257)])
    func product(_ m: Int, _ n: Int, _ k: Int) {
        let a = random(m, k, seed: 1)
        let b = random(k, n, seed: 2)
        for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
            let c = BLAS.product(
                transposeA ? a.transposed : a, transposeA: transposeA, transposeB ? b.transposed : b,
                transposeB: transposeB)
            for row in 0..<m {
                for column in 0..<n {
                    let exact = (0..<k).reduce(0.0) { $0 + Double(a[row, $1]) * Double(b[$1, column]) }
                    #expect(abs(Double(c[row, column]) - exact) < 1e-6 * Double(k) + 1e-6)
                }
            }
        }
    }

    @Test("A product adds to what is there by beta, and ignores it with beta 0 even when it is not a number")
    func beta() {
        let a = Matrix(rows: 1, columns: 2, elements: [1, 2])
        let b = Matrix(rows: 2, columns: 1, elements: [3, 4])
        var c = Matrix(rows: 1, columns: 1, elements: [10])
        BLAS.gemm(alpha: 2, a, b, beta: 0.5, into: &c)
        #expect(c[0, 0] == 27)
        c[0, 0] = .nan
        BLAS.gemm(a, b, into: &c)
        #expect(c[0, 0] == 11)
    }

    @Test("A row of a product depends on the batch around it by less than 1e-6 of its terms")
    func batchBound() {
        let a = random(256, 300, seed: 3)
        let b = random(300, 40, seed: 4)
        let whole = BLAS.product(a, b)
        for size in [1, 2, 7, 31, 100] {
            let part = BLAS.product(a.selecting(rows: 10..<10 + size), b)
            for row in 0..<size {
                for column in 0..<40 {
                    let scale = (0..<300).reduce(Float(0)) { $0 + abs(a[10 + row, $1] * b[$1, column]) }
                    #expect(abs(part[row, column] - whole[10 + row, column]) <= 1e-6 * scale)
                }
            }
        }
    }

    @Test("A matrix times a vector equals the product")
    func vector() {
        let a = random(5, 9, seed: 5)
        let x = random(9, 1, seed: 6)
        var y = [Float](repeating: 0, count: 5)
        var span = y.mutableSpan
        a.withSpan { a in x.withSpan { x in BLAS.gemv(rows: 5, columns: 9, a: a, x: x, y: &span) } }
        let expected = BLAS.product(a, x)
        for index in 0..<5 { #expect(abs(y[index] - expected[index, 0]) < 1e-5) }
    }

    @Test("exp, sigmoid and tanh agree with libm to a few units in the last place")
    func functions() {
        var generator = SeededGenerator(seed: 7)
        let values =
            (0..<20_000).map { _ in Float.random(in: -20...20, using: &generator) } + [0, -0.0, 1e-8, -1e-8, 0.625]
        func check(_ what: String, _ apply: (inout MutableSpan<Float>) -> Void, _ exact: (Double) -> Double) {
            var results = values
            var span = results.mutableSpan
            apply(&span)
            for (value, result) in zip(values, results) {
                let expected = exact(Double(value))
                #expect(abs(Double(result) - expected) <= 3e-7 * abs(expected) + 1e-38, "\(what)(\(value))")
            }
        }
        check("exp", Elementwise.exp) { Foundation.exp($0) }
        check("sigmoid", Elementwise.sigmoid) { 1 / (1 + Foundation.exp(-$0)) }
        check("tanh", Elementwise.tanh) { Foundation.tanh($0) }
    }

    @Test("Functions keep NaN and saturate at the ends")
    func extremes() {
        func apply(_ values: [Float], _ body: (inout MutableSpan<Float>) -> Void) -> [Float] {
            var result = values
            var span = result.mutableSpan
            body(&span)
            return result
        }
        let ends: [Float] = [-.infinity, -1_000, 1_000, .infinity]
        #expect(apply(ends, Elementwise.exp) == [0, 0, .infinity, .infinity])
        #expect(apply(ends, Elementwise.sigmoid) == [0, 0, 1, 1])
        #expect(apply(ends, Elementwise.tanh) == [-1, -1, 1, 1])
        for function in [
            Elementwise.exp, Elementwise.sigmoid, Elementwise.tanh, Elementwise.relu, Elementwise.absolute,
        ] {
            #expect(apply([.nan], function)[0].isNaN)
        }
        #expect(apply([1, 2, 3, 1_000, 1_000, 1_000]) { Elementwise.softmaxRows(&$0, columns: 3) }[3] == Float(1) / 3)
    }

    @Test("Softmax rows sum to 1 and the logarithm matches")
    func softmax() {
        let matrix = random(7, 5, seed: 8)
        var plain = matrix
        var logarithm = matrix
        plain.withMutableSpan { Elementwise.softmaxRows(&$0, columns: 5) }
        logarithm.withMutableSpan { Elementwise.logSoftmaxRows(&$0, columns: 5) }
        for row in 0..<7 {
            #expect(abs(plain.row(row).reduce(0, +) - 1) < 1e-6)
            for column in 0..<5 { #expect(abs(Foundation.log(plain[row, column]) - logarithm[row, column]) < 1e-5) }
        }
    }

    @Test("argmax takes the first of equals and skips NaN")
    func argmax() {
        #expect(Elementwise.argmax([1, 3, 3, 2].span) == 1)
        #expect(Elementwise.argmax([.nan, 3, 5].span) == 2)
        #expect(Elementwise.argmax([.nan, .nan].span) == 0)
    }

    @Test("A buffer is aligned, zeroed when made, and released once, zeroed")
    func buffers() throws {
        let buffer = try HeapWeightAllocator().allocate(count: 33)
        buffer.withMutableSpan { span in
            span.withUnsafeBufferPointer { pointer in
                #expect(UInt(bitPattern: pointer.baseAddress) % 64 == 0)
                #expect(pointer.allSatisfy { $0 == 0 })
            }
        }
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: 4)
        memory.initialize(repeating: 7, count: 4)
        do { _ = FloatBuffer(adopting: memory, count: 4) { _ in } }
        for index in 0..<4 { #expect(memory[index] == 0) }
        memory.deallocate()
    }

    @Test("OpenBLAS names its kernels")
    func names() {
        #expect(!BLAS.coreType.isEmpty && BLAS.configuration.contains("OpenBLAS"))
    }
}
