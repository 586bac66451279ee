// kernels_baseline: what every processor has (SSE2 on x86-64, NEON on arm64), through the compiler's vectors.
#include "kernels.h"
#include <math.h>

#define NAME(x) baseline_##x
#define VL 4
#define NV 2
#define MR 4
#define MR1 4
#define KC 256
#define FOREST_BLOCK_MIN 33
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
typedef float vf __attribute__((ext_vector_type(4)));
typedef int32_t vi __attribute__((ext_vector_type(4)));
typedef float vfu __attribute__((ext_vector_type(4), aligned(4)));

static inline ptrdiff_t feature_of(const pk_node *node) { return node->feature & PK_FEATURE_MASK; }

#include "dense_template.h"
#include "math_template.h"
#include "forest_template.h"

#define TEST(NAME_, PARAMETERS, CONDITION)                                                                             \
    static inline __attribute__((always_inline)) void NAME_ PARAMETERS {                                               \
        uint16_t *out = bits;                                                                                          \
        for (ptrdiff_t i = 0; i < rows; i += 16) {                                                                     \
            uint32_t word = 0;                                                                                         \
            for (int lane = 0; lane < 16; lane++) {                                                                    \
                float x = column[i + lane];                                                                            \
                word |= (uint32_t)(CONDITION) << lane;                                                                 \
            }                                                                                                          \
            out[i / 16] = (uint16_t)word;                                                                              \
        }                                                                                                              \
    }
TEST(NAME(test), (const float *column, float threshold, ptrdiff_t rows, void *bits), x <= threshold)
TEST(NAME(test_equal), (const float *column, float threshold, ptrdiff_t rows, void *bits), x == threshold)
TEST(NAME(test_missing), (const float *column, ptrdiff_t rows, void *bits), x != x)

static inline __attribute__((always_inline)) void NAME(look_up)(
    const NAME(mask) *slices, int slice_count, const float *table, int aggregate, ptrdiff_t rows, float *sums) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        uint32_t index = 0;
        for (int s = 0; s < slice_count; s++) index |= (uint32_t)(slices[s][i / 64] >> (i % 64) & 1) << s;
        sums[i] = NAME(combine)(aggregate, sums[i], table[index]);
    }
}

const pk_kernels pk_kernels_baseline = {
    VL, NV * VL, NAME(dense), NAME(map), NAME(affine_rows), NAME(scale_rows), NAME(softmax_rows), NAME(forest),
};
