// allocation_counter: how often the calling thread has asked the C library for memory.
#pragma once
#include <stdint.h>

/// Calls of malloc, calloc, realloc, memalign and their kin by this thread so far.
uint64_t allocation_count(void);
