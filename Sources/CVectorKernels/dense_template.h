// dense_template: the dense layer for one instruction set. Included by each kernels_*.c, which defines VL (floats of a
// vector), NV (vectors of a panel), MR (rows of a block), MR1 (rows of a block of one vector's columns), KC (inputs of a block) and NAME.

static inline __attribute__((always_inline)) vf NAME(load)(const float *p) { return *(const vfu *)p; }
static inline __attribute__((always_inline)) void NAME(store)(float *p, vf v) { *(vfu *)p = v; }

/// `rows` x `vectors` accumulators, each a chain of products in the order of the inputs: with a bias they start from it,
/// otherwise (`c` holds the sums of earlier inputs) from what is there. `columns` are stored.
static inline __attribute__((always_inline)) void NAME(block)(
    const int rows, const int vectors, ptrdiff_t inputs, const float *a, ptrdiff_t lda, const float *b, float *c,
    ptrdiff_t ldc, const float *bias, int continues, int ends, const pk_dense *d, ptrdiff_t columns) {
    vf sum[MR1][NV];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) {
            if (continues) sum[r][v] = NAME(load)(c + r * ldc + v * VL);
            else if (bias) sum[r][v] = NAME(load)(bias + v * VL);
            else sum[r][v] = (vf)(0.0f);
        }
    for (ptrdiff_t i = 0; i < inputs; i++) {
        vf w[NV];
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) w[v] = NAME(load)(b + v * VL);
        if (rows <= 2) __builtin_prefetch(b + 16 * vectors * VL, 0, 3);
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++) {
            vf x = (vf)(a[r * lda + i]);
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v++) sum[r][v] = MULTIPLY_ADD(x, w[v], sum[r][v]);
        }
        b += vectors * VL;
    }
    if (ends && d->activation != PK_NONE) {
        vf slope = (vf)(d->activation == PK_RELU ? 0.0f : d->alpha);
        int isRelu = d->activation == PK_RELU;
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v++) {
                vf s = sum[r][v];
                // The comparison is false for NaN, which therefore stays.
                sum[r][v] = s < 0 ? (isRelu ? (vf)(0.0f) : s * slope) : s;
            }
    }
    if (columns == vectors * VL) {
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v++) NAME(store)(c + r * ldc + v * VL, sum[r][v]);
        return;
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
        float line[NV * VL];
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) NAME(store)(line + v * VL, sum[r][v]);
        for (ptrdiff_t o = 0; o < columns; o++) c[r * ldc + o] = line[o];
    }
}

typedef void NAME(block_function)(
    ptrdiff_t, const float *, ptrdiff_t, const float *, float *, ptrdiff_t, const float *, int, int, const pk_dense *,
    ptrdiff_t);

#define BLOCK(R, V)                                                                                                    \
    static void NAME(block_##R##_##V)(                                                                                 \
        ptrdiff_t inputs, const float *a, ptrdiff_t lda, const float *b, float *c, ptrdiff_t ldc, const float *bias,   \
        int continues, int ends, const pk_dense *d, ptrdiff_t columns) {                                               \
        NAME(block)(R, V, inputs, a, lda, b, c, ldc, bias, continues, ends, d, columns);                               \
    }
#define COLUMN(R) BLOCK(R, 1) BLOCK(R, 2)
COLUMN(1) COLUMN(2) COLUMN(3) COLUMN(4)
#define ROW4(V) NAME(block_1_##V), NAME(block_2_##V), NAME(block_3_##V), NAME(block_4_##V)
#if MR >= 6
COLUMN(5) COLUMN(6)
#define ROW6(V) ROW4(V), NAME(block_5_##V), NAME(block_6_##V)
#endif
#if NV == 4
BLOCK(7, 1) BLOCK(8, 1) BLOCK(9, 1) BLOCK(10, 1) BLOCK(11, 1) BLOCK(12, 1)
BLOCK(1, 3) BLOCK(2, 3) BLOCK(3, 3) BLOCK(4, 3) BLOCK(5, 3) BLOCK(6, 3)
BLOCK(1, 4) BLOCK(2, 4) BLOCK(3, 4) BLOCK(4, 4) BLOCK(5, 4) BLOCK(6, 4)
static NAME(block_function) *const NAME(blocks)[NV][MR1] = {
    {ROW6(1), NAME(block_7_1), NAME(block_8_1), NAME(block_9_1), NAME(block_10_1), NAME(block_11_1), NAME(block_12_1)},
    {ROW6(2)}, {ROW6(3)}, {ROW6(4)}};
#elif MR == 6
static NAME(block_function) *const NAME(blocks)[NV][MR1] = {{ROW6(1)}, {ROW6(2)}};
#else
static NAME(block_function) *const NAME(blocks)[NV][MR1] = {{ROW4(1)}, {ROW4(2)}};
#endif

static void NAME(dense)(const pk_dense *d, const float *a, ptrdiff_t lda, ptrdiff_t rows, float *c) {
    ptrdiff_t padded = (d->outputs + VL - 1) / VL * VL;
    const float *b = d->packed;
    for (ptrdiff_t start = 0; start < padded; start += NV * VL) {
        ptrdiff_t width = padded - start < NV * VL ? padded - start : NV * VL;
        ptrdiff_t columns = d->outputs - start < width ? d->outputs - start : width;
        NAME(block_function) *const *functions = NAME(blocks)[width / VL - 1];
        // A panel that stays in the first-level cache while the rows pass. A padded one is narrow enough as it is.
        ptrdiff_t step = columns == width && rows > MR ? KC : d->inputs;
        // One vector of columns needs more rows to keep the multipliers busy.
        ptrdiff_t height = width == VL ? MR1 : MR;
        ptrdiff_t k = 0;
        do {
            ptrdiff_t inputs = d->inputs - k < step ? d->inputs - k : step;
            int ends = k + inputs == d->inputs;
            // Blocks of nearly equal size: a small last one would leave the multipliers idle.
            ptrdiff_t blocks = (rows + height - 1) / height, count;
            for (ptrdiff_t row = 0, block = 0; row < rows; row += count, block++) {
                count = rows / blocks + (block < rows % blocks);
                functions[count - 1](
                    inputs, a + row * lda + k, lda, b + k * width, c + row * d->outputs + start, d->outputs,
                    d->bias ? d->bias + start : NULL, k > 0, ends, d, columns);
            }
            k += inputs;
        } while (k < d->inputs);
        b += d->inputs * width;
    }
}
#undef BLOCK
