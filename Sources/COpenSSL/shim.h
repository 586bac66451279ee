#pragma once
/* The low-level SHA-256 is deprecated in favour of EVP, which allocates per message. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
