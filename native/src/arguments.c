#include "arguments.h"

#include <string.h>
#include <uv.h>

napi_value throw_type_error(napi_env env, const char *message) {
  napi_throw_type_error(env, "ERR_GODWIT_NATIVE_ARGUMENT", message);
  return NULL;
}

napi_value throw_system_error(napi_env env, int error, const char *call) {
  napi_throw_error(env, uv_err_name(-error), call);
  return NULL;
}

bool take_arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values) {
  size_t count = wanted;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) == napi_ok && count == wanted) return true;
  throw_type_error(env, "wrong number of arguments");
  return false;
}

bool take_span(napi_env env, napi_value value, napi_typedarray_type type, span *out) {
  bool is_typed_array = false;
  napi_typedarray_type found;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
      napi_get_typedarray_info(env, value, &found, &out->length, &out->data, NULL, NULL) != napi_ok ||
      found != type) {
    throw_type_error(env, "wrong kind of typed array");
    return false;
  }
  if (out->data == NULL) out->length = 0;
  return true;
}

bool take_index(napi_env env, napi_value value, size_t most, size_t *out) {
  double number = -1;
  /* The comparison is false for NaN. */
  if (napi_get_value_double(env, value, &number) == napi_ok && number >= 0 && number <= (double)most) {
    *out = (size_t)number;
    if ((double)*out == number) return true;
  }
  throw_type_error(env, "a number is out of range");
  return false;
}

bool take_handle(napi_env env, napi_value value, const napi_type_tag *tag, void **out) {
  bool is_ours = false;
  napi_valuetype type;
  if (napi_typeof(env, value, &type) == napi_ok && type == napi_object &&
      napi_check_object_type_tag(env, value, tag, &is_ours) == napi_ok && is_ours &&
      napi_unwrap(env, value, out) == napi_ok) {
    return true;
  }
  throw_type_error(env, "not a handle of this module");
  return false;
}

napi_value make_handle(napi_env env, void *data, const napi_type_tag *tag, napi_finalize finalize) {
  napi_value object;
  if (napi_create_object(env, &object) != napi_ok || napi_type_tag_object(env, object, tag) != napi_ok ||
      napi_wrap(env, object, data, finalize, NULL, NULL) != napi_ok) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  return object;
}

napi_value make_number(napi_env env, double value) {
  napi_value number = NULL;
  napi_create_double(env, value, &number);
  return number;
}

void define(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, name, function) != napi_ok) {
    napi_throw_error(env, NULL, "cannot define a function");
  }
}
