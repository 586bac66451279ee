// kernels_avx2: AVX2 with fused multiply-add.
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#define NAME(x) avx2_##x
#define VL 8
#define NV 2
#define MR 6
#define MR1 6
#define KC 256
#define FOREST_BLOCK_MIN 17
#define MULTIPLY_ADD(a, b, c) __builtin_elementwise_fma(a, b, c)
typedef float vf __attribute__((ext_vector_type(8)));
typedef int32_t vi __attribute__((ext_vector_type(8)));
typedef float vfu __attribute__((ext_vector_type(8), aligned(4)));

#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2"))), apply_to = function)

static inline ptrdiff_t feature_of(const pk_node *node) { return node->feature & PK_FEATURE_MASK; }

#include "dense_template.h"
#include "math_template.h"
#include "forest_template.h"

#define TEST(NAME_, PARAMETERS, OTHER, PREDICATE)                                                                      \
    static inline __attribute__((always_inline)) void NAME_ PARAMETERS {                                               \
        uint8_t *out = bits;                                                                                           \
        for (ptrdiff_t i = 0; i < rows; i += 8) {                                                                      \
            __m256 x = _mm256_loadu_ps(column + i);                                                                    \
            out[i / 8] = (uint8_t)_mm256_movemask_ps(_mm256_cmp_ps(x, OTHER, PREDICATE));                              \
        }                                                                                                              \
    }
TEST(NAME(test), (const float *column, float threshold, ptrdiff_t rows, void *bits), _mm256_set1_ps(threshold), _CMP_LE_OQ)
TEST(NAME(test_equal), (const float *column, float threshold, ptrdiff_t rows, void *bits), _mm256_set1_ps(threshold), _CMP_EQ_OQ)
TEST(NAME(test_missing), (const float *column, ptrdiff_t rows, void *bits), x, _CMP_UNORD_Q)

static inline __attribute__((always_inline)) void NAME(look_up)(
    const NAME(mask) *slices, int slice_count, const float *table, int aggregate, ptrdiff_t rows, float *sums) {
    const uint8_t *bits = (const uint8_t *)slices;
    const ptrdiff_t stride = PK_FOREST_ROWS / 8;
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (ptrdiff_t i = 0; i < rows; i += 8) {
        __m256i index = _mm256_setzero_si256();
        for (int s = 0; s < slice_count; s++) {
            __m256i bit = _mm256_and_si256(_mm256_set1_epi32(bits[s * stride + i / 8]), lanes);
            __m256i set = _mm256_cmpeq_epi32(bit, lanes);
            index = _mm256_or_si256(index, _mm256_and_si256(set, _mm256_set1_epi32(1 << s)));
        }
        __m256 value = _mm256_i32gather_ps(table, index, 4);
        __m256 sum = _mm256_loadu_ps(sums + i);
        switch (aggregate) {
        case PK_SUM: sum = _mm256_add_ps(sum, value); break;
        case PK_MIN: sum = _mm256_min_ps(value, sum); break;
        default: sum = _mm256_max_ps(value, sum); break;
        }
        _mm256_storeu_ps(sums + i, sum);
    }
}

const pk_kernels pk_kernels_avx2 = {
    VL, NV * VL, NAME(dense), NAME(map), NAME(affine_rows), NAME(scale_rows), NAME(softmax_rows), NAME(forest),
};
#pragma clang attribute pop
#endif
