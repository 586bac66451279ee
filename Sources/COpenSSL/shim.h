#pragma once
/* The low-level SHA-256 is deprecated in favour of EVP, which allocates per message; the low-level EC interface gives
   raw scalars, points and signatures without a detour through parameter arrays. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* Macros that Swift does not import. */
static inline int penstock_gcm_set_tag(EVP_CIPHER_CTX *context, int count, const void *tag) {
    return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, count, (void *)tag);
}
static inline int penstock_gcm_get_tag(EVP_CIPHER_CTX *context, int count, void *tag) {
    return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, count, tag);
}
static inline BIO *penstock_memory_bio(const void *bytes, int count) {
    return bytes ? BIO_new_mem_buf(bytes, count) : BIO_new(BIO_s_secmem());
}
static inline long penstock_bio_bytes(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }
