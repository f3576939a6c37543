/*
 * Pieces of a file on their way from a batch into a chunk. One call copies what many packets carried, and
 * asks for the next piece while it copies one: a batch is larger than the nearest cache.
 */
#include <string.h>

#include "arguments.h"

/* Finds piece i. False when it does not lie inside the buffer. */
static bool find_piece(const span *bytes, const span *starts, const span *lengths, size_t i, const uint8_t **piece,
                       size_t *length) {
  int32_t start = read_once((int32_t *)starts->data + i);
  int32_t size = read_once((int32_t *)lengths->data + i);
  if (start < 0 || size < 0 || (size_t)start + (size_t)size > bytes->length) return false;
  *piece = (const uint8_t *)bytes->data + start;
  *length = (size_t)size;
  return true;
}

/* copyPieces(bytes, starts, lengths, from, to, target, at): puts pieces [from, to) one behind the other */
static napi_value copy_pieces(napi_env env, napi_callback_info info) {
  napi_value arguments[7];
  span bytes, starts, lengths, target;
  size_t from, to, at;
  if (!take_arguments(env, info, 7, arguments) || !take_span(env, arguments[0], napi_uint8_array, &bytes) ||
      !take_span(env, arguments[1], napi_int32_array, &starts) ||
      !take_span(env, arguments[2], napi_int32_array, &lengths) ||
      !take_span(env, arguments[5], napi_uint8_array, &target) ||
      !take_index(env, arguments[4], starts.length < lengths.length ? starts.length : lengths.length, &to) ||
      !take_index(env, arguments[3], to, &from) || !take_index(env, arguments[6], target.length, &at)) {
    return NULL;
  }
  for (size_t i = from; i < to; i++) {
    const uint8_t *piece, *next;
    size_t length, next_length;
    if (!find_piece(&bytes, &starts, &lengths, i, &piece, &length) || length > target.length - at) {
      return throw_type_error(env, "a piece lies outside its buffer, or has no room");
    }
    if (i + 1 < to && find_piece(&bytes, &starts, &lengths, i + 1, &next, &next_length)) {
      for (size_t line = 0; line < next_length && line < 2048; line += 64) __builtin_prefetch(next + line, 0, 2);
    }
    /* Empty memory has no address. Both may be one buffer: what is copied then is the caller's affair. */
    if (length > 0) memmove((uint8_t *)target.data + at, piece, length);
    at += length;
  }
  return NULL;
}

void register_pieces(napi_env env, napi_value exports) { define(env, exports, "copyPieces", copy_pieces); }
