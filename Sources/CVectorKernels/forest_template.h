// forest_template: tree ensembles for one instruction set.
//
// A block of up to 256 rows is laid out by column. For each tree every node's test is made for all rows at once; the
// outcomes are bit masks, one bit a row. Going down the tree once with bit operations gives, for each bit of a leaf's
// ordinal, the mask of the rows whose leaf has that bit: no branch depends on the data. Trees with many leaves, and
// batches of few rows, walk down instead, several walks interleaved.

#define WORDS (PK_FOREST_ROWS / 64)
typedef uint64_t NAME(mask) __attribute__((ext_vector_type(WORDS)));

/// Writes the outcome of a node's test, one bit for each of `rows` values of a column: x <= threshold, false for NaN.
static inline __attribute__((always_inline)) void NAME(test)(
    const float *column, float threshold, ptrdiff_t rows, void *bits);
/// The same for x == threshold.
static inline __attribute__((always_inline)) void NAME(test_equal)(
    const float *column, float threshold, ptrdiff_t rows, void *bits);
/// The same for NaN.
static inline __attribute__((always_inline)) void NAME(test_missing)(
    const float *column, ptrdiff_t rows, void *bits);
/// Adds (or takes the smaller, the larger) the value of each row's leaf to `sums`.
static inline __attribute__((always_inline)) void NAME(look_up)(
    const NAME(mask) *slices, int slice_count, const float *table, int aggregate, ptrdiff_t rows, float *sums);

static inline __attribute__((always_inline)) float NAME(combine)(int aggregate, float sum, float value) {
    switch (aggregate) {
    case PK_SUM: return sum + value;
    case PK_MIN: return value < sum ? value : sum;
    default: return value > sum ? value : sum;
    }
}

/// The tests of all nodes of a tree whose tests are all x <= threshold; `rows` is a constant at each call.
static inline __attribute__((always_inline)) void NAME(all_tests)(
    const pk_node *nodes, int inner, const float *columns, const ptrdiff_t rows, NAME(mask) *tests) {
    for (int i = 0; i < inner; i++) {
        uint32_t feature = nodes[i].feature & PK_FEATURE_MASK;
        NAME(test)(columns + feature * PK_FOREST_ROWS, nodes[i].threshold, rows, tests + i);
    }
}

/// Evaluates all nodes of one tree on a block of 32, 64, 128 or 256 rows. `missing` holds for each column the mask of its
/// NaN.
static void NAME(tree_masks)(
    const pk_forest *f, const pk_tree *tree, const float *columns, const NAME(mask) *missing, ptrdiff_t rows,
    float *sums) {
    const pk_node *nodes = f->nodes + tree->node_start;
    // Inner nodes and leaves.
    NAME(mask) reached[2 * PK_FOREST_LEAVES_MAX], tests[PK_FOREST_LEAVES_MAX], slices[6];
    int inner = tree->inner_count, slice_count = 0;
    while ((1 << slice_count) < tree->leaf_count) slice_count++;
    int leaves = 1 << slice_count;
    reached[0] = ~(NAME(mask))0;
    if (tree->has_equal) {
        for (int i = 0; i < inner; i++) {
            uint32_t feature = nodes[i].feature & PK_FEATURE_MASK;
            if (nodes[i].feature & PK_EQUAL)
                NAME(test_equal)(columns + feature * PK_FOREST_ROWS, nodes[i].threshold, rows, tests + i);
            else NAME(test)(columns + feature * PK_FOREST_ROWS, nodes[i].threshold, rows, tests + i);
        }
        // A node may have several parents (a set as a chain of equalities): their masks are joined.
        for (int i = 1; i < inner + leaves; i++) reached[i] = 0;
        for (int i = 0; i < inner; i++) {
            uint32_t flags = nodes[i].feature;
            NAME(mask) takes = (NAME(mask))(0 - (uint64_t)(flags >> 30 & 1));
            NAME(mask) outcome = tests[i] | (missing[flags & PK_FEATURE_MASK] & takes);
            reached[nodes[i].next[1]] |= reached[i] & outcome;
            reached[nodes[i].next[0]] |= reached[i] & ~outcome;
        }
    } else {
        switch (rows) {
        case 32: NAME(all_tests)(nodes, inner, columns, 32, tests); break;
        case 64: NAME(all_tests)(nodes, inner, columns, 64, tests); break;
        case 128: NAME(all_tests)(nodes, inner, columns, 128, tests); break;
        default: NAME(all_tests)(nodes, inner, columns, PK_FOREST_ROWS, tests); break;
        }
        for (int i = inner + tree->leaf_count; i < inner + leaves; i++) reached[i] = 0;
        for (int i = 0; i < inner; i++) {
            uint32_t flags = nodes[i].feature;
            NAME(mask) takes = (NAME(mask))(0 - (uint64_t)(flags >> 30 & 1));
            NAME(mask) outcome = tests[i] | (missing[flags & PK_FEATURE_MASK] & takes);
            reached[nodes[i].next[1]] = reached[i] & outcome;
            reached[nodes[i].next[0]] = reached[i] & ~outcome;
        }
    }
    // Bit s of the ordinal: halve the leaves, collecting the odd ones.
    NAME(mask) *leaf = reached + inner;
    for (int s = 0; s < 6; s++) slices[s] = 0;
    for (int s = 0, count = leaves; s < slice_count; s++, count /= 2) {
        NAME(mask) odd = 0;
        for (int i = 0; i < count / 2; i++) {
            odd |= leaf[2 * i + 1];
            leaf[i] = leaf[2 * i] | leaf[2 * i + 1];
        }
        slices[s] = odd;
    }
    for (int t = 0; t < tree->target_count; t++)
        NAME(look_up)(
            slices, slice_count, f->values + tree->value_start + (ptrdiff_t)t * tree->table_length, f->aggregate, rows,
            sums + (ptrdiff_t)f->targets[tree->target_start + t] * PK_FOREST_ROWS);
}

/// One step of a walk; a leaf leads to itself. The outcome is an index, not a branch.
static inline __attribute__((always_inline)) int32_t NAME(step)(const pk_node *node, float x) {
    uint32_t feature = node->feature;
    int outcome = x <= node->threshold;
    int isEqual = x == node->threshold;
    outcome = feature & PK_EQUAL ? isEqual : outcome;
    outcome |= (x != x) & (int)(feature >> 30 & 1);
    return node->next[outcome];
}

#define WALKS 8

/// `rows` rows walk down one tree; columns of the block as above.
static void NAME(tree_walk)(
    const pk_forest *f, const pk_tree *tree, const float *columns, ptrdiff_t rows, float *sums) {
    const pk_node *nodes = f->nodes + tree->node_start;
    for (ptrdiff_t start = 0; start < rows; start += WALKS) {
        int32_t at[WALKS] = {0};
        // Rows beyond the last are columns of the block too; their results are not used.
        const float *block = columns + start;
        int32_t moved = 1;
        while (moved) {
            moved = 0;
#pragma clang loop unroll(full) vectorize(disable)
            for (int w = 0; w < WALKS; w++) {
                const pk_node *node = nodes + at[w];
                int32_t next = NAME(step)(node, block[feature_of(node) * PK_FOREST_ROWS + w]);
                moved |= next ^ at[w];
                at[w] = next;
            }
        }
        ptrdiff_t count = rows - start < WALKS ? rows - start : WALKS;
        for (int t = 0; t < tree->target_count; t++) {
            const float *table = f->values + tree->value_start + (ptrdiff_t)t * tree->table_length;
            float *sum = sums + (ptrdiff_t)f->targets[tree->target_start + t] * PK_FOREST_ROWS + start;
            for (ptrdiff_t w = 0; w < count; w++)
                sum[w] = NAME(combine)(f->aggregate, sum[w], table[nodes[at[w]].ordinal]);
        }
    }
}

/// One row walks down all trees, several at a time; `used` are the row's values of the used features.
static void NAME(row_walk)(const pk_forest *f, const float *used, float *out) {
    for (ptrdiff_t start = 0; start < f->tree_count; start += WALKS) {
        const pk_node *at[WALKS], *first[WALKS];
        const pk_tree *trees = f->trees + start;
        ptrdiff_t count = f->tree_count - start < WALKS ? f->tree_count - start : WALKS;
        int32_t depth = 0;
        for (ptrdiff_t w = 0; w < WALKS; w++) {
            const pk_tree *tree = trees + (w < count ? w : 0);
            depth = tree->depth > depth ? tree->depth : depth;
            at[w] = first[w] = f->nodes + tree->node_start;
        }
        for (int32_t d = 0; d < depth; d++) {
#pragma clang loop unroll(full) vectorize(disable)
            for (int w = 0; w < WALKS; w++) at[w] = first[w] + NAME(step)(at[w], used[feature_of(at[w])]);
        }
        for (ptrdiff_t w = 0; w < count; w++) {
            uint32_t leaf = at[w]->ordinal;
            const float *values = f->values + trees[w].value_start + leaf;
            for (int t = 0; t < trees[w].target_count; t++) {
                float *sum = out + f->targets[trees[w].target_start + t];
                *sum = NAME(combine)(f->aggregate, *sum, values[(ptrdiff_t)t * trees[w].table_length]);
            }
        }
    }
}

/// Lays a block out by column and marks its missing values.
static void NAME(transpose)(
    const pk_forest *f, const float *x, ptrdiff_t columns, ptrdiff_t count, ptrdiff_t padded, float *block,
    NAME(mask) *missing) {
    for (ptrdiff_t i = 0; i < f->feature_count; i++) {
        const float *source = x + f->features[i];
        float *target = block + i * PK_FOREST_ROWS;
        for (ptrdiff_t r = 0; r < count; r++) target[r] = source[r * columns];
        for (ptrdiff_t r = count; r < padded; r++) target[r] = 0;
        NAME(test_missing)(target, padded, missing + i);
    }
}

static void NAME(forest)(
    const pk_forest *f, const float *x, ptrdiff_t columns, ptrdiff_t rows, float *out, float *scratch) {
    float neutral = f->aggregate == PK_SUM ? 0 : f->aggregate == PK_MIN ? __builtin_inff() : -__builtin_inff();
    float *block = scratch, *sums = block + f->feature_count * PK_FOREST_ROWS;
    NAME(mask) *missing = (NAME(mask) *)(sums + f->target_count * PK_FOREST_ROWS);
    while (rows > 0) {
        ptrdiff_t count = rows < PK_FOREST_ROWS ? rows : PK_FOREST_ROWS;
        if (count < FOREST_BLOCK_MIN) {
            for (ptrdiff_t r = 0; r < count; r++) {
                for (ptrdiff_t i = 0; i < f->feature_count; i++) block[i] = x[r * columns + f->features[i]];
                for (ptrdiff_t t = 0; t < f->target_count; t++) out[r * f->target_count + t] = neutral;
                NAME(row_walk)(f, block, out + r * f->target_count);
            }
        } else {
            ptrdiff_t padded = 32;
            while (padded < count) padded *= 2;
            NAME(transpose)(f, x, columns, count, padded, block, missing);
            for (ptrdiff_t i = 0; i < f->target_count * PK_FOREST_ROWS; i++) sums[i] = neutral;
            for (ptrdiff_t t = 0; t < f->tree_count; t++) {
                const pk_tree *tree = f->trees + t;
                // Sets make chains, so that there may be more inner nodes than leaves.
                if (tree->leaf_count <= PK_FOREST_LEAVES_MAX && tree->inner_count > 0
                    && tree->inner_count <= PK_FOREST_LEAVES_MAX)
                    NAME(tree_masks)(f, tree, block, missing, padded, sums);
                else NAME(tree_walk)(f, tree, block, count, sums);
            }
            for (ptrdiff_t r = 0; r < count; r++)
                for (ptrdiff_t t = 0; t < f->target_count; t++)
                    out[r * f->target_count + t] = sums[t * PK_FOREST_ROWS + r];
        }
        x += count * columns;
        out += count * f->target_count;
        rows -= count;
    }
}
