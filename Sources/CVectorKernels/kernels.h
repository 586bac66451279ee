// kernels: the table of functions that each instruction set fills.
#pragma once
#include "vector_kernels.h"

typedef struct {
    ptrdiff_t vector, panel;
    void (*dense)(const pk_dense *, const float *, ptrdiff_t, ptrdiff_t, float *);
    void (*map)(int, const float *, float *, ptrdiff_t, float, float);
    void (*affine_rows)(const float *, float *, ptrdiff_t, ptrdiff_t, const float *, const float *);
    void (*scale_rows)(const float *, float *, ptrdiff_t, ptrdiff_t, const float *, const float *);
    void (*softmax_rows)(const float *, float *, ptrdiff_t, ptrdiff_t);
    void (*forest)(const pk_forest *, const float *, ptrdiff_t, ptrdiff_t, float *, float *);
} pk_kernels;

extern const pk_kernels pk_kernels_baseline;
#if defined(__x86_64__)
extern const pk_kernels pk_kernels_avx2;
extern const pk_kernels pk_kernels_avx512;
#endif
