// math_template: elementwise functions for one instruction set.

/// e^x after Cephes' `expf` (https://www.netlib.org/cephes): range reduction by ln 2 in two parts, then a polynomial of
/// degree 5. Results below the smallest normal number become 0; NaN stays.
static inline __attribute__((always_inline)) vf NAME(exp)(vf x) {
    vf lowest = (vf)(-87.33654f), highest = (vf)(88.72284f);
    vf bounded = x < lowest ? lowest : x;
    bounded = bounded > highest ? highest : bounded;
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    vf shifted = MULTIPLY_ADD(bounded, (vf)(1.44269504f), (vf)(12582912.0f));
    vf power = shifted - 12582912.0f;
    vf r = MULTIPLY_ADD(power, (vf)(-0.693359375f), bounded);
    r = MULTIPLY_ADD(power, (vf)(2.12194440e-4f), r);
    vf p = MULTIPLY_ADD(r, (vf)(1.9875691500e-4f), (vf)(1.3981999507e-3f));
    p = MULTIPLY_ADD(p, r, (vf)(8.3334519073e-3f));
    p = MULTIPLY_ADD(p, r, (vf)(4.1665795894e-2f));
    p = MULTIPLY_ADD(p, r, (vf)(1.6666665459e-1f));
    p = MULTIPLY_ADD(p, r, (vf)(5.0000001201e-1f));
    p = MULTIPLY_ADD(p * r, r, r) + 1.0f;
    // 2^n in two factors, because n reaches 128.
    vi n = (vi)shifted - 0x4b400000;
    vi half = n >> 1;
    vf low = (vf)((half + 127) << 23), high = (vf)((n - half + 127) << 23);
    vf result = p * low * high;
    result = x > highest ? (vf)(__builtin_inff()) : result;
    result = x < lowest ? (vf)(0.0f) : result;
    return x == x ? result : x;
}

static inline __attribute__((always_inline)) vf NAME(sigmoid)(vf x) { return 1.0f / (1.0f + NAME(exp)(-x)); }

/// Cephes' `tanhf`: an odd polynomial near 0, `1 - 2 / (e^2|x| + 1)` with the sign of x beyond.
static inline __attribute__((always_inline)) vf NAME(tanh)(vf x) {
    vf magnitude = x < 0 ? -x : x;
    vf far = 1.0f - 2.0f / (NAME(exp)(magnitude + magnitude) + 1.0f);
    vf z = x * x;
    vf p = MULTIPLY_ADD(z, (vf)(-5.70498872745e-3f), (vf)(2.06390887954e-2f));
    p = MULTIPLY_ADD(p, z, (vf)(-5.37397155531e-2f));
    p = MULTIPLY_ADD(p, z, (vf)(1.33314422036e-1f));
    p = MULTIPLY_ADD(p, z, (vf)(-3.33332819422e-1f));
    vf near = MULTIPLY_ADD(p * z, x, x);
    vf result = magnitude > 0.625f ? (x < 0 ? -far : far) : near;
    return x == x ? result : x;
}

static inline __attribute__((always_inline)) vf NAME(function)(const int function, vf x, float p, float q) {
    switch (function) {
    case PK_EXP: return NAME(exp)(x);
    case PK_SIGMOID: return NAME(sigmoid)(x);
    case PK_TANH: return NAME(tanh)(x);
    case PK_RELU_F: return x < 0 ? (vf)(0.0f) : x;
    case PK_LEAKY: return x < 0 ? x * p : x;
    case PK_ELU: return x < 0 ? (NAME(exp)(x) - 1.0f) * p : x;
    case PK_ABS: return (vf)((vi)x & 0x7fffffff);
    case PK_NEG: return -x;
    case PK_SQRT: return __builtin_elementwise_sqrt(x);
    case PK_RECIPROCAL: return 1.0f / x;
    case PK_CLIP: {
        vf low = x < p ? (vf)(p) : x;
        return low > q ? (vf)(q) : low;
    }
    default: return x * p + q;
    }
}

/// The rest goes through the same vectors, so that a value's result does not depend on its place.
static inline __attribute__((always_inline)) void NAME(loop)(
    const int function, const float *x, float *y, ptrdiff_t count, float p, float q) {
    ptrdiff_t i = 0;
    for (; i + VL <= count; i += VL) NAME(store)(y + i, NAME(function)(function, NAME(load)(x + i), p, q));
    if (i == count) return;
    float rest[VL] = {0};
    for (ptrdiff_t j = i; j < count; j++) rest[j - i] = x[j];
    NAME(store)(rest, NAME(function)(function, NAME(load)(rest), p, q));
    for (ptrdiff_t j = i; j < count; j++) y[j] = rest[j - i];
}

static void NAME(map)(int function, const float *x, float *y, ptrdiff_t count, float p, float q) {
    switch (function) {
    case PK_EXP: NAME(loop)(PK_EXP, x, y, count, p, q); return;
    case PK_SIGMOID: NAME(loop)(PK_SIGMOID, x, y, count, p, q); return;
    case PK_TANH: NAME(loop)(PK_TANH, x, y, count, p, q); return;
    case PK_RELU_F: NAME(loop)(PK_RELU_F, x, y, count, p, q); return;
    case PK_LEAKY: NAME(loop)(PK_LEAKY, x, y, count, p, q); return;
    case PK_ELU: NAME(loop)(PK_ELU, x, y, count, p, q); return;
    case PK_ABS: NAME(loop)(PK_ABS, x, y, count, p, q); return;
    case PK_NEG: NAME(loop)(PK_NEG, x, y, count, p, q); return;
    case PK_SQRT: NAME(loop)(PK_SQRT, x, y, count, p, q); return;
    case PK_RECIPROCAL: NAME(loop)(PK_RECIPROCAL, x, y, count, p, q); return;
    case PK_CLIP: NAME(loop)(PK_CLIP, x, y, count, p, q); return;
    case PK_AFFINE: NAME(loop)(PK_AFFINE, x, y, count, p, q); return;
    case PK_SOFTPLUS:
        for (ptrdiff_t i = 0; i < count; i++) y[i] = (x[i] > 0 ? x[i] : 0) + log1pf(expf(-fabsf(x[i])));
        return;
    case PK_ERF:
        for (ptrdiff_t i = 0; i < count; i++) y[i] = erff(x[i]);
        return;
    default: return;
    }
}

static void NAME(affine_rows)(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *scale, const float *offset) {
    for (ptrdiff_t r = 0; r < rows; r++, x += columns, y += columns)
        for (ptrdiff_t c = 0; c < columns; c++) y[c] = x[c] * scale[c] + offset[c];
}

static void NAME(scale_rows)(
    const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns, const float *offset, const float *scale) {
    for (ptrdiff_t r = 0; r < rows; r++, x += columns, y += columns)
        for (ptrdiff_t c = 0; c < columns; c++) y[c] = (x[c] - offset[c]) * scale[c];
}

static void NAME(softmax_rows)(const float *x, float *y, ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *row = x + r * columns;
        float highest = row[0];
        for (ptrdiff_t c = 1; c < columns; c++) highest = row[c] > highest ? row[c] : highest;
        for (ptrdiff_t c = 0; c < columns; c++) y[r * columns + c] = row[c] - highest;
    }
    NAME(loop)(PK_EXP, y, y, rows * columns, 0, 0);
    for (ptrdiff_t r = 0; r < rows; r++) {
        float *row = y + r * columns, sum = 0;
        for (ptrdiff_t c = 0; c < columns; c++) sum += row[c];
        for (ptrdiff_t c = 0; c < columns; c++) row[c] /= sum;
    }
}
