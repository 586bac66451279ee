// dispatch: chooses the instruction set once and passes calls on.
#include "kernels.h"
#include <stdatomic.h>
#include <string.h>

static _Atomic int limit = PK_AVX512;

int pk_detected_level(void) {
#if defined(__x86_64__)
    static _Atomic int known = -1;
    int level = atomic_load_explicit(&known, memory_order_relaxed);
    if (level >= 0) return level;
    __builtin_cpu_init();
    level = PK_BASELINE;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = PK_AVX2;
    if (level == PK_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        level = PK_AVX512;
    atomic_store_explicit(&known, level, memory_order_relaxed);
    return level;
#else
    return PK_BASELINE;
#endif
}

int pk_level(void) {
    int most = atomic_load_explicit(&limit, memory_order_relaxed);
    int level = pk_detected_level();
    return level < most ? level : most;
}

void pk_limit_level(int level) { atomic_store_explicit(&limit, level, memory_order_relaxed); }

static inline const pk_kernels *kernels(int level) {
    (void)level;
#if defined(__x86_64__)
    switch (level) {
    case PK_AVX512: return &pk_kernels_avx512;
    case PK_AVX2: return &pk_kernels_avx2;
    default: break;
    }
#endif
    return &pk_kernels_baseline;
}

ptrdiff_t pk_padded(int level, ptrdiff_t outputs) {
    ptrdiff_t vector = kernels(level)->vector;
    return (outputs + vector - 1) / vector * vector;
}

void pk_pack(
    int level, const float *weights, ptrdiff_t input_stride, ptrdiff_t output_stride, ptrdiff_t inputs, ptrdiff_t outputs,
    float *packed) {
    ptrdiff_t panel = kernels(level)->panel, padded = pk_padded(level, outputs);
    for (ptrdiff_t start = 0; start < padded; start += panel) {
        ptrdiff_t width = padded - start < panel ? padded - start : panel;
        for (ptrdiff_t i = 0; i < inputs; i++)
            for (ptrdiff_t o = start; o < start + width; o++)
                // Weights may stand unaligned in a file's bytes.
                if (o < outputs) memcpy(packed++, (const char *)weights + 4 * (i * input_stride + o * output_stride), 4);
                else *packed++ = 0;
    }
}

void pk_dense_run(const pk_dense *dense, const float *a, ptrdiff_t lda, ptrdiff_t rows, float *c) {
    kernels(dense->level)->dense(dense, a, lda, rows, c);
}

void pk_map(int function, const float *x, float *y, ptrdiff_t count, float p, float q) {
    kernels(pk_level())->map(function, x, y, count, p, q);
}

void pk_affine_rows(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *scale, const float *offset) {
    kernels(pk_level())->affine_rows(x, y, rows, columns, scale, offset);
}

void pk_scale_rows(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *offset, const float *scale) {
    kernels(pk_level())->scale_rows(x, y, rows, columns, offset, scale);
}

void pk_softmax_rows(const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns) {
    kernels(pk_level())->softmax_rows(x, y, rows, columns);
}

ptrdiff_t pk_forest_scratch(const pk_forest *forest) {
    // Columns and aggregates of a block, and a mask of the missing values of each column.
    return (forest->feature_count + forest->target_count) * PK_FOREST_ROWS
        + forest->feature_count * (PK_FOREST_ROWS / 32);
}

void pk_forest_run(
    const pk_forest *forest, const float *x, ptrdiff_t columns, ptrdiff_t rows, float *out, float *scratch) {
    kernels(forest->level)->forest(forest, x, columns, rows, out, scratch);
}
