/* A UDP socket on libuv's poll. udp_open.c makes and closes it, udp_send.c and udp_receive.c move batches. */
#ifndef GODWIT_UDP_H
#define GODWIT_UDP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "arguments.h"

/* The largest IP packet, and so the most one datagram or one coalesced run of them takes. */
#define SLOT_BYTES 65536

/* Messages per recvmmsg and sendmmsg: the cost of a call is spread thin from about eight on. */
#define RECEIVE_MESSAGES 32
#define SEND_MESSAGES 32

/* Segments per super-packet. Linux: UDP_MAX_SEGMENTS is 64, 128 from 6.9. */
#define GSO_SEGMENTS 64

/* Payload of a super-packet: it is one IP packet until it is cut (65 535 - 40 - 8). */
#define GSO_BYTES 65487

/* What a socket uses; a feature that the system refuses is switched off. */
enum { FEATURE_GSO = 1, FEATURE_GRO = 2, FEATURE_SENDMMSG = 4, FEATURE_RECVMMSG = 8, FEATURE_ALL = 15 };

/* Order of the numbers that `statistics` fills in; src/node/sockets/native.ts reads them by the same order. */
enum {
  STAT_DATAGRAMS_SENT,
  STAT_BYTES_SENT,
  STAT_DATAGRAMS_RECEIVED,
  STAT_BYTES_RECEIVED,
  STAT_KERNEL_DROPS,
  STAT_SEND_ERRORS,
  STAT_PATH_ERRORS,
  STAT_PATH_MTU,
  STAT_FEATURES,
  STAT_SEND_CALLS,
  STAT_RECEIVE_CALLS,
  STAT_COUNT
};

/* A message that was received but did not fit into the batch any more. */
typedef struct {
  size_t offset;
  size_t length;
  size_t segment;
  int32_t words[ADDRESS_WORDS];
  uint8_t ecn;
} spilled;

typedef struct {
  napi_env env;
  uv_poll_t poll;
  int fd;
  int family;
  /* One owner is the JavaScript object, the other libuv, which lets go one turn after closing. */
  int owners;
  bool is_closed;
  bool is_started;
  bool wants_writable;
  bool is_delivering;
  /* Between a short recvmmsg and the end of the readable callback: nothing to ask the kernel for. */
  bool is_drained;
  unsigned features;
  uint32_t drops_seen;
  double statistics[STAT_COUNT];
  napi_ref self;
  napi_ref handlers[3];
  napi_async_context context;
  napi_async_cleanup_hook_handle cleanup;
  uint8_t *spill;
  spilled spills[RECEIVE_MESSAGES];
  size_t spill_first;
  size_t spill_count;
} udp_socket;

enum { HANDLE_READABLE, HANDLE_WRITABLE, HANDLE_ERROR };

extern const napi_type_tag UDP_TAG;

/* Address words to what the kernel takes. False when this kind of socket cannot reach it. */
bool words_to_address(const udp_socket *socket, const int32_t *words, struct sockaddr_storage *out, socklen_t *length);
void address_to_words(const struct sockaddr_storage *address, int32_t *words);

/* Asks libuv for what the socket waits for now. */
int udp_watch(udp_socket *socket);

/* Empties the error queue: counted, never acted on, because anyone off the path can forge an ICMP message. */
void udp_read_errors(udp_socket *socket);

napi_value udp_send(napi_env env, napi_callback_info info);
napi_value udp_receive(napi_env env, napi_callback_info info);

#endif
