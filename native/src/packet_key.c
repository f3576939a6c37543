/*
 * Packet protection: AES-256-GCM over a batch, in place, with the OpenSSL of the running node. The end
 * of a packet's plaintext may lie in other memory: then it is sealed from there into the packet.
 *
 * Nonce = IV xor packet number (RFC 9001 section 5.3); the first `header` bytes of a packet are the
 * associated data, the last 16 the tag.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "arguments.h"

#define KEY_BYTES 32
#define IV_BYTES 12
#define TAG_BYTES 16
#define BLOCK_BYTES 16
/* Pieces of other memory that the packets of one call may borrow from; it is mostly one chunk or two. */
#define LENDERS 64
/* Packet numbers are exact in a double up to here: 2^53 - 1. */
#define PACKET_NUMBER_MAX 9007199254740991.0

/* A node without these symbols (none is known) loads the module and is told that there is no AEAD. */
#pragma weak EVP_aes_256_gcm
#pragma weak EVP_CIPHER_CTX_new
#pragma weak EVP_CIPHER_CTX_free
#pragma weak EVP_CIPHER_CTX_ctrl
#pragma weak EVP_EncryptInit_ex
#pragma weak EVP_EncryptUpdate
#pragma weak EVP_EncryptFinal_ex
#pragma weak EVP_DecryptInit_ex
#pragma weak EVP_DecryptUpdate
#pragma weak EVP_DecryptFinal_ex
#pragma weak OPENSSL_cleanse
#pragma weak ERR_clear_error

static const napi_type_tag KEY_TAG = {0x676f64776974206bULL, 0x6b65792d76312d31ULL};

typedef struct {
  EVP_CIPHER_CTX *seal;
  EVP_CIPHER_CTX *open;
  uint8_t iv[IV_BYTES];
} packet_key;

/* The arrays of a batch that sealing and opening look at. */
typedef struct {
  span bytes;
  span offsets;
  span lengths;
  span numbers;
  size_t from;
  size_t to;
  size_t header;
} packet_range;

static bool has_openssl(void) {
  return EVP_aes_256_gcm != NULL && EVP_CIPHER_CTX_new != NULL && EVP_CIPHER_CTX_free != NULL &&
         EVP_CIPHER_CTX_ctrl != NULL && EVP_EncryptInit_ex != NULL && EVP_EncryptUpdate != NULL &&
         EVP_EncryptFinal_ex != NULL && EVP_DecryptInit_ex != NULL && EVP_DecryptUpdate != NULL &&
         EVP_DecryptFinal_ex != NULL && OPENSSL_cleanse != NULL && ERR_clear_error != NULL;
}

static void free_key(packet_key *key) {
  EVP_CIPHER_CTX_free(key->seal);
  EVP_CIPHER_CTX_free(key->open);
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

static void finalize_key(napi_env env, void *data, void *hint) { free_key(data); }

/* createKey(key: Uint8Array(32), iv: Uint8Array(12)) */
static napi_value create_key(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  span secret, iv;
  if (!take_arguments(env, info, 2, arguments) || !take_span(env, arguments[0], napi_uint8_array, &secret) ||
      !take_span(env, arguments[1], napi_uint8_array, &iv)) {
    return NULL;
  }
  if (secret.length != KEY_BYTES || iv.length != IV_BYTES) {
    return throw_type_error(env, "a packet key is 32 bytes, its IV 12");
  }
  packet_key *key = calloc(1, sizeof *key);
  if (key == NULL) return throw_system_error(env, 12 /* ENOMEM */, "createKey");
  memcpy(key->iv, iv.data, IV_BYTES);
  key->seal = EVP_CIPHER_CTX_new();
  key->open = EVP_CIPHER_CTX_new();
  /* The default nonce length of GCM is the 12 bytes we use. */
  if (key->seal == NULL || key->open == NULL ||
      EVP_EncryptInit_ex(key->seal, EVP_aes_256_gcm(), NULL, secret.data, NULL) != 1 ||
      EVP_DecryptInit_ex(key->open, EVP_aes_256_gcm(), NULL, secret.data, NULL) != 1) {
    free_key(key);
    napi_throw_error(env, NULL, "OpenSSL does not offer AES-256-GCM");
    return NULL;
  }
  napi_value handle = make_handle(env, key, &KEY_TAG, finalize_key);
  if (handle == NULL) free_key(key);
  return handle;
}

/* Reads bytes, offsets, lengths, packetNumbers, from, to, headerBytes starting at arguments[0]. */
static bool take_range(napi_env env, napi_value *arguments, packet_range *range) {
  if (!take_span(env, arguments[0], napi_uint8_array, &range->bytes) ||
      !take_span(env, arguments[1], napi_int32_array, &range->offsets) ||
      !take_span(env, arguments[2], napi_int32_array, &range->lengths) ||
      !take_span(env, arguments[3], napi_float64_array, &range->numbers)) {
    return false;
  }
  size_t most = range->offsets.length;
  if (range->lengths.length < most) most = range->lengths.length;
  if (range->numbers.length < most) most = range->numbers.length;
  return take_index(env, arguments[5], most, &range->to) &&
         take_index(env, arguments[4], range->to, &range->from) &&
         take_index(env, arguments[6], range->bytes.length, &range->header);
}

/*
 * Finds packet i: its first byte and its length. False when it does not lie inside the buffer.
 */
static bool find_packet(const packet_range *range, size_t i, uint8_t **packet, size_t *length) {
  int32_t offset = read_once((int32_t *)range->offsets.data + i);
  int32_t bytes = read_once((int32_t *)range->lengths.data + i);
  if (offset < 0 || bytes < 0 || (size_t)offset + (size_t)bytes > range->bytes.length) return false;
  *packet = (uint8_t *)range->bytes.data + offset;
  *length = (size_t)bytes;
  return true;
}

/* False when the packet number is none. */
static bool make_nonce(const packet_key *key, const packet_range *range, size_t i, uint8_t nonce[IV_BYTES]) {
  double number = *((volatile double *)range->numbers.data + i);
  if (!(number >= 0 && number <= PACKET_NUMBER_MAX)) return false;
  uint64_t bits = (uint64_t)number;
  memcpy(nonce, key->iv, IV_BYTES);
  for (int byte = 0; byte < 8; byte++) nonce[11 - byte] ^= (uint8_t)(bits >> (8 * byte));
  return true;
}

/* The last `borrowed` bytes of the plaintext are read from `lent`. */
static bool seal_one(packet_key *key, const uint8_t *nonce, uint8_t *packet, size_t length, size_t header,
                     const uint8_t *lent, size_t borrowed) {
  int written = 0;
  uint8_t *text = packet + header;
  uint8_t *tag = packet + length - TAG_BYTES;
  size_t own = (size_t)(tag - text) - borrowed;
  if (borrowed > 0) {
    /* Whole blocks in each part: the cipher is slow at a part that begins inside one. */
    size_t fill = (BLOCK_BYTES - own % BLOCK_BYTES) % BLOCK_BYTES;
    if (fill > borrowed) fill = borrowed;
    memcpy(text + own, lent, fill);
    own += fill;
    lent += fill;
    borrowed -= fill;
  }
  return EVP_EncryptInit_ex(key->seal, NULL, NULL, NULL, nonce) == 1 &&
         (header == 0 || EVP_EncryptUpdate(key->seal, NULL, &written, packet, (int)header) == 1) &&
         (own == 0 || EVP_EncryptUpdate(key->seal, text, &written, text, (int)own) == 1) &&
         (borrowed == 0 || EVP_EncryptUpdate(key->seal, text + own, &written, lent, (int)borrowed) == 1) &&
         EVP_EncryptFinal_ex(key->seal, tag, &written) == 1 &&
         EVP_CIPHER_CTX_ctrl(key->seal, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) == 1;
}

static bool open_one(packet_key *key, const uint8_t *nonce, uint8_t *packet, size_t length, size_t header) {
  int written = 0;
  uint8_t *text = packet + header;
  uint8_t *tag = packet + length - TAG_BYTES;
  return EVP_DecryptInit_ex(key->open, NULL, NULL, NULL, nonce) == 1 &&
         (header == 0 || EVP_DecryptUpdate(key->open, NULL, &written, packet, (int)header) == 1) &&
         (text == tag || EVP_DecryptUpdate(key->open, text, &written, text, (int)(tag - text)) == 1) &&
         EVP_CIPHER_CTX_ctrl(key->open, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
         EVP_DecryptFinal_ex(key->open, tag, &written) == 1;
}

/* What packets borrow: the end of packet i's plaintext lies in lenders[lender_of[i]]. */
typedef struct {
  span borrowed;
  span lent_from;
  span lender_of;
  span lenders[LENDERS];
  uint32_t lender_count;
} loans;

/* Reads the list of lenders. It may run JavaScript (an accessor): no memory may have been looked up before. */
static bool take_lenders(napi_env env, napi_value list, napi_value *lenders, uint32_t *count) {
  bool is_array = false;
  if (napi_is_array(env, list, &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, list, count) != napi_ok || *count > LENDERS) {
    throw_type_error(env, "not a list of lenders, or too many");
    return false;
  }
  for (uint32_t i = 0; i < *count; i++) {
    if (napi_get_element(env, list, i, &lenders[i]) != napi_ok) return false;
  }
  return true;
}

/* Reads borrowedBytes, lentFrom, lenderOf starting at arguments[0]; all have room for `to` packets. */
static bool take_loans(napi_env env, napi_value *arguments, const napi_value *lenders, size_t to, loans *out) {
  if (!take_span(env, arguments[0], napi_int32_array, &out->borrowed) ||
      !take_span(env, arguments[1], napi_int32_array, &out->lent_from) ||
      !take_span(env, arguments[2], napi_int32_array, &out->lender_of)) {
    return false;
  }
  if (out->borrowed.length < to || out->lent_from.length < to || out->lender_of.length < to) {
    throw_type_error(env, "no room for what packets borrow");
    return false;
  }
  for (uint32_t i = 0; i < out->lender_count; i++) {
    if (!take_span(env, lenders[i], napi_uint8_array, &out->lenders[i])) return false;
  }
  return true;
}

/* Finds what packet i borrows, if anything. False when it is not inside its lender. */
static bool find_loan(const loans *loans, size_t i, const uint8_t **lent, size_t *borrowed) {
  int32_t length = read_once((int32_t *)loans->borrowed.data + i);
  int32_t from = read_once((int32_t *)loans->lent_from.data + i);
  int32_t lender = read_once((int32_t *)loans->lender_of.data + i);
  *lent = NULL;
  *borrowed = 0;
  if (length == 0) return true;
  if (length < 0 || from < 0 || lender < 0 || (uint32_t)lender >= loans->lender_count) return false;
  const span *memory = &loans->lenders[lender];
  if ((size_t)from + (size_t)length > memory->length) return false;
  *lent = (const uint8_t *)memory->data + from;
  *borrowed = (size_t)length;
  return true;
}

/* Asks for what packet i borrows, so that it is on its way while the packet before is sealed. */
static void prefetch_loan(const loans *loans, size_t i) {
  const uint8_t *lent;
  size_t borrowed;
  if (!find_loan(loans, i, &lent, &borrowed)) return;
  for (size_t at = 0; at < borrowed; at += 64) __builtin_prefetch(lent + at, 0, 2);
}

/* Seals packets of a range; `loans` is NULL when none borrows. */
static napi_value seal_range(napi_env env, packet_key *key, const packet_range *range,
                             const loans *loans) {
  for (size_t i = range->from; i < range->to; i++) {
    const uint8_t *lent = NULL;
    uint8_t *packet, nonce[IV_BYTES];
    size_t length, borrowed = 0;
    if (loans != NULL && i + 1 < range->to) prefetch_loan(loans, i + 1);
    if (loans != NULL && !find_loan(loans, i, &lent, &borrowed)) {
      return throw_type_error(env, "a packet borrows bytes that its lender does not have");
    }
    if (!find_packet(range, i, &packet, &length) || length < range->header + borrowed + TAG_BYTES ||
        !make_nonce(key, range, i, nonce)) {
      return throw_type_error(env, "a packet to seal lies outside the buffer, is too short or has no number");
    }
    if (!seal_one(key, nonce, packet, length, range->header, lent, borrowed)) {
      napi_throw_error(env, NULL, "OpenSSL refused to seal");
      return NULL;
    }
  }
  return NULL;
}

/* seal(key, bytes, offsets, lengths, packetNumbers, from, to, headerBytes) */
static napi_value seal(napi_env env, napi_callback_info info) {
  napi_value arguments[8];
  void *key;
  packet_range range;
  if (!take_arguments(env, info, 8, arguments) || !take_handle(env, arguments[0], &KEY_TAG, &key) ||
      !take_range(env, arguments + 1, &range)) {
    return NULL;
  }
  return seal_range(env, key, &range, NULL);
}

/* sealBorrowed(key, bytes, offsets, lengths, packetNumbers, from, to, headerBytes, borrowedBytes, lentFrom, lenderOf, lenders) */
static napi_value seal_borrowed(napi_env env, napi_callback_info info) {
  napi_value arguments[12];
  void *key;
  packet_range range;
  loans loans;
  napi_value lenders[LENDERS];
  if (!take_arguments(env, info, 12, arguments) ||
      !take_lenders(env, arguments[11], lenders, &loans.lender_count) ||
      !take_handle(env, arguments[0], &KEY_TAG, &key) || !take_range(env, arguments + 1, &range) ||
      !take_loans(env, arguments + 8, lenders, range.to, &loans)) {
    return NULL;
  }
  return seal_range(env, key, &range, &loans);
}

/* open(key, bytes, offsets, lengths, packetNumbers, from, to, headerBytes, opened): how many are authentic */
static napi_value open_packets(napi_env env, napi_callback_info info) {
  napi_value arguments[9];
  void *key;
  packet_range range;
  span opened;
  if (!take_arguments(env, info, 9, arguments) || !take_handle(env, arguments[0], &KEY_TAG, &key) ||
      !take_range(env, arguments + 1, &range) || !take_span(env, arguments[8], napi_uint8_array, &opened)) {
    return NULL;
  }
  if (opened.length < range.to) return throw_type_error(env, "no room for the verdicts");
  uint32_t authentic = 0;
  for (size_t i = range.from; i < range.to; i++) {
    uint8_t *packet, nonce[IV_BYTES];
    size_t length;
    if (!find_packet(&range, i, &packet, &length) || !make_nonce(key, &range, i, nonce)) {
      return throw_type_error(env, "a packet to open lies outside the buffer or has no number");
    }
    bool is_authentic =
        length >= range.header + TAG_BYTES && open_one(key, nonce, packet, length, range.header);
    ((uint8_t *)opened.data)[i] = is_authentic;
    authentic += is_authentic;
  }
  /* What OpenSSL noted about forged packets must not be found by node's own TLS later. */
  if (authentic < range.to - range.from) ERR_clear_error();
  return make_number(env, authentic);
}

void register_packet_key(napi_env env, napi_value exports) {
  napi_value available;
  if (napi_get_boolean(env, has_openssl(), &available) == napi_ok) {
    napi_set_named_property(env, exports, "hasPacketKey", available);
  }
  if (!has_openssl()) return;
  define(env, exports, "createKey", create_key);
  define(env, exports, "seal", seal);
  define(env, exports, "sealBorrowed", seal_borrowed);
  define(env, exports, "open", open_packets);
}
