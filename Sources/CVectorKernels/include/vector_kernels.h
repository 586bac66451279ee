// vector_kernels: dense layers, tree ensembles and elementwise functions, compiled for three instruction sets.
//
// Every function is re-entrant, allocates nothing, keeps no copy of a weight beyond the caller's memory (and the
// processor's registers), and treats each row alone: the order of a row's sums depends neither on the number of rows
// nor on the row's place among them, so a row's bits do not change with its batch.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Instruction sets in rising order.
enum { PK_BASELINE = 0, PK_AVX2 = 1, PK_AVX512 = 2 };

/// The best set that this processor has.
int pk_detected_level(void);
/// The set in use: the detected one unless `pk_limit_level` said otherwise.
int pk_level(void);
/// Uses at most `level` for what is made from now on. For measurements.
void pk_limit_level(int level);

/// What is done to each sum of a dense layer before it is stored.
enum { PK_NONE = 0, PK_RELU = 1, PK_LEAKY_RELU = 2 };

/// A matrix of `inputs x outputs` in panels of whole vectors, each panel stored row by row; zero padded.
typedef struct {
    const float *packed;
    /// `pk_padded(outputs)` floats, or NULL.
    const float *bias;
    ptrdiff_t inputs, outputs;
    int activation;
    float alpha;
    /// The instruction set it was packed for.
    int level;
} pk_dense;

/// Outputs rounded up to whole vectors of an instruction set: floats of a padded bias.
ptrdiff_t pk_padded(int level, ptrdiff_t outputs);
/// Packs element (i, o), found at `weights[i * input_stride + o * output_stride]`, into `inputs * pk_padded(outputs)`
/// floats at `packed`.
void pk_pack(
    int level, const float *weights, ptrdiff_t input_stride, ptrdiff_t output_stride, ptrdiff_t inputs, ptrdiff_t outputs,
    float *packed);
/// `c = activation(a * matrix + bias)` for `rows` rows of `a` (stride `lda`) into rows of `outputs` floats.
void pk_dense_run(const pk_dense *dense, const float *a, ptrdiff_t lda, ptrdiff_t rows, float *c);

/// Functions of one number.
enum {
    PK_EXP = 0, PK_SIGMOID, PK_TANH, PK_RELU_F, PK_LEAKY, PK_ELU, PK_SOFTPLUS, PK_ERF, PK_ABS, PK_NEG, PK_SQRT,
    PK_RECIPROCAL, PK_CLIP, PK_AFFINE
};
/// `y[i] = function(x[i])`; `x` may be `y`. `p` and `q` are alpha; minimum and maximum; scale and offset.
void pk_map(int function, const float *x, float *y, ptrdiff_t count, float p, float q);
/// `y = x * scale + offset` by column of rows of `columns`; `x` may be `y`.
void pk_affine_rows(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *scale, const float *offset);
/// `y = (x - offset) * scale`, the order of operations of `Scaler`.
void pk_scale_rows(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *offset, const float *scale);
/// Softmax of each row; `x` may be `y`.
void pk_softmax_rows(const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns);

/// A node of a tree. A leaf leads to itself either way and holds its ordinal within its tree.
typedef struct {
    union {
        float threshold;
        uint32_t ordinal;
    };
    /// Index into the used features, and the flags.
    uint32_t feature;
    /// Where the test leads when it fails, and when it holds.
    int32_t next[2];
} pk_node;

#define PK_FEATURE_MASK 0x0fffffffu
/// The test is x == threshold rather than x <= threshold.
#define PK_EQUAL 0x80000000u
/// The test holds for a missing value (NaN).
#define PK_MISSING_YES 0x40000000u

typedef struct {
    /// Nodes of this tree start here; `next` counts from here. Parents stand before their children, the inner nodes
    /// before the leaves, and the leaves in the order of their ordinals.
    ptrdiff_t node_start;
    int32_t inner_count, leaf_count;
    /// Steps from the root to the deepest leaf.
    int32_t depth;
    /// Some node of the tree has `PK_EQUAL`.
    int32_t has_equal;
    /// Number of targets the leaves add to; 0 when each leaf adds to targets of its own.
    int32_t target_count;
    /// Leaves rounded up to a power of two, 16 at least: length of one table.
    int32_t table_length;
    /// `target_count` targets in `targets`, and as many tables of leaf values in `values`.
    ptrdiff_t target_start, value_start;
} pk_tree;

enum { PK_SUM = 0, PK_MIN = 1, PK_MAX = 2 };

typedef struct {
    const pk_node *nodes;
    const pk_tree *trees;
    const int32_t *targets;
    const float *values;
    /// Columns of the input that the trees use.
    const int32_t *features;
    ptrdiff_t tree_count, feature_count, target_count, node_count;
    int aggregate;
    int level;
} pk_forest;

/// Rows that are evaluated together.
#define PK_FOREST_ROWS 256
/// Leaves of a tree beyond which rows walk down instead of evaluating all nodes at once.
#define PK_FOREST_LEAVES_MAX 64

/// Floats of scratch that `pk_forest_run` needs.
ptrdiff_t pk_forest_scratch(const pk_forest *forest);
/// Aggregates of `rows` rows (stride `columns`) into rows of `target_count` floats. Sums run in the order of the trees.
void pk_forest_run(
    const pk_forest *forest, const float *x, ptrdiff_t columns, ptrdiff_t rows, float *out, float *scratch);
