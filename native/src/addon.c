/*
 * godwit's native half: UDP in batches and AES-256-GCM in batches, one crossing per batch.
 * Everything here has an equal in plain Node (src/node/sockets/dgram.ts, packet-key-node.ts).
 */
#include "arguments.h"

/* Raised with every incompatible change; src/node/sockets/native-loader.ts wants this very number. */
#define INTERFACE_VERSION 1

NAPI_MODULE_INIT() {
  napi_set_named_property(env, exports, "interfaceVersion", make_number(env, INTERFACE_VERSION));
  register_packet_key(env, exports);
  register_udp(env, exports);
  register_file_now(env, exports);
  register_pieces(env, exports);
  return exports;
}
