/* Arguments from JavaScript, checked before anything is done with them. */
#ifndef GODWIT_ARGUMENTS_H
#define GODWIT_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <node_api.h>

/* Words one address takes: src/wire/address.ts. */
#define ADDRESS_WORDS 6

/* A typed array's memory: `length` elements at `data`; NULL and 0 when it is detached or empty. */
typedef struct {
  void *data;
  size_t length;
} span;

/* All of these throw a TypeError and return false when the value is not what was asked for. */
bool take_arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values);
bool take_span(napi_env env, napi_value value, napi_typedarray_type type, span *out);
bool take_index(napi_env env, napi_value value, size_t most, size_t *out);
bool take_handle(napi_env env, napi_value value, const napi_type_tag *tag, void **out);

/* An object that carries `data` under `tag`; NULL (and an exception) when that failed. */
napi_value make_handle(napi_env env, void *data, const napi_type_tag *tag, napi_finalize finalize);

napi_value throw_type_error(napi_env env, const char *message);
napi_value throw_system_error(napi_env env, int error, const char *call);

/* Numbers as JavaScript sees them; they cannot fail for valid environments. */
napi_value make_number(napi_env env, double value);

void define(napi_env env, napi_value exports, const char *name, napi_callback callback);

/* Element i of an array that JavaScript may share with another thread: read exactly once. */
static inline int32_t read_once(const int32_t *from) { return *(const volatile int32_t *)from; }

void register_packet_key(napi_env env, napi_value exports);
void register_udp(napi_env env, napi_value exports);
void register_file_now(napi_env env, napi_value exports);
void register_pieces(napi_env env, napi_value exports);

#endif
