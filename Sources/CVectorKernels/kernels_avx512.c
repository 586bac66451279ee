// kernels_avx512: AVX-512 with the F, BW, DQ and VL parts.
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#define NAME(x) avx512_##x
#define VL 16
#define NV 4
#define MR 6
#define MR1 12
#define KC 128
#define FOREST_BLOCK_MIN 17
#define MULTIPLY_ADD(a, b, c) __builtin_elementwise_fma(a, b, c)
typedef float vf __attribute__((ext_vector_type(16)));
typedef int32_t vi __attribute__((ext_vector_type(16)));
typedef float vfu __attribute__((ext_vector_type(16), aligned(4)));

#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)

static inline ptrdiff_t feature_of(const pk_node *node) { return node->feature & PK_FEATURE_MASK; }

#include "dense_template.h"
#include "math_template.h"
#include "forest_template.h"

#define TEST(NAME_, PARAMETERS, OTHER, PREDICATE)                                                                      \
    static inline __attribute__((always_inline)) void NAME_ PARAMETERS {                                               \
        __mmask16 *out = bits;                                                                                         \
        _Pragma("clang loop unroll_count(16)") for (ptrdiff_t i = 0; i < rows; i += 16) {                              \
            __m512 x = _mm512_loadu_ps(column + i);                                                                    \
            _store_mask16(out + i / 16, _mm512_cmp_ps_mask(x, OTHER, PREDICATE));                                      \
        }                                                                                                              \
    }
TEST(NAME(test), (const float *column, float threshold, ptrdiff_t rows, void *bits), _mm512_set1_ps(threshold), _CMP_LE_OQ)
TEST(NAME(test_equal), (const float *column, float threshold, ptrdiff_t rows, void *bits), _mm512_set1_ps(threshold), _CMP_EQ_OQ)
TEST(NAME(test_missing), (const float *column, ptrdiff_t rows, void *bits), x, _CMP_UNORD_Q)

static inline __attribute__((always_inline)) void NAME(look_up)(
    const NAME(mask) *slices, int slice_count, const float *table, int aggregate, ptrdiff_t rows, float *sums) {
    const uint16_t *bits = (const uint16_t *)slices;
    const ptrdiff_t stride = PK_FOREST_ROWS / 16;
    __m512 t0 = _mm512_loadu_ps(table), t1 = t0, t2 = t0, t3 = t0;
    if (slice_count > 4) t1 = _mm512_loadu_ps(table + 16);
    if (slice_count > 5) {
        t2 = _mm512_loadu_ps(table + 32);
        t3 = _mm512_loadu_ps(table + 48);
    }
    for (ptrdiff_t i = 0; i < rows; i += 16) {
        const uint16_t *m = bits + i / 16;
        __m512i index = _mm512_maskz_set1_epi32(m[0], 1);
        index = _mm512_mask_or_epi32(index, m[stride], index, _mm512_set1_epi32(2));
        index = _mm512_mask_or_epi32(index, m[2 * stride], index, _mm512_set1_epi32(4));
        index = _mm512_mask_or_epi32(index, m[3 * stride], index, _mm512_set1_epi32(8));
        __m512 value;
        if (slice_count <= 4) {
            value = _mm512_permutexvar_ps(index, t0);
        } else {
            index = _mm512_mask_or_epi32(index, m[4 * stride], index, _mm512_set1_epi32(16));
            value = _mm512_permutex2var_ps(t0, index, t1);
            if (slice_count > 5)
                value = _mm512_mask_blend_ps(
                    m[5 * stride], value, _mm512_permutex2var_ps(t2, index, t3));
        }
        __m512 sum = _mm512_loadu_ps(sums + i);
        switch (aggregate) {
        case PK_SUM: sum = _mm512_add_ps(sum, value); break;
        case PK_MIN: sum = _mm512_min_ps(value, sum); break;
        default: sum = _mm512_max_ps(value, sum); break;
        }
        _mm512_storeu_ps(sums + i, sum);
    }
}

const pk_kernels pk_kernels_avx512 = {
    VL, NV * VL, NAME(dense), NAME(map), NAME(affine_rows), NAME(scale_rows), NAME(softmax_rows), NAME(forest),
};
#pragma clang attribute pop
#endif
