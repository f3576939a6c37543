/*
 * Receiving a batch: messages land in 64 KiB slots of the batch's own buffer; what the kernel coalesced
 * (UDP_GRO) becomes one descriptor per datagram, in place. Only what does not fit is copied: it waits
 * in the socket's own slots for the next call.
 */
#include "udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/* Room for UDP_GRO, TOS or traffic class (twice on dual-stack sockets) and the drop counter. */
#define RECEIVE_CONTROL_BYTES 128

/* Segments a message usually has at most; more than that is only slower, see `spill`. */
#define EXPECTED_SEGMENTS 64

typedef struct {
  span bytes;
  span offsets;
  span lengths;
  span addresses;
  span ecn;
  size_t capacity;
  size_t count;
  size_t used;
} receive_batch;

typedef struct {
  struct mmsghdr messages[RECEIVE_MESSAGES];
  struct iovec slots[RECEIVE_MESSAGES];
  struct sockaddr_storage from[RECEIVE_MESSAGES];
  _Alignas(struct cmsghdr) char control[RECEIVE_MESSAGES][RECEIVE_CONTROL_BYTES];
} receive_plan;

/* One received message: `segment` is the length of each datagram in it but the last. */
typedef struct {
  uint8_t *data;
  size_t length;
  size_t segment;
  int32_t words[ADDRESS_WORDS];
  uint8_t ecn;
} received;

static void describe(receive_batch *batch, size_t offset, size_t length, const int32_t *words, uint8_t ecn) {
  size_t i = batch->count++;
  ((int32_t *)batch->offsets.data)[i] = (int32_t)offset;
  ((int32_t *)batch->lengths.data)[i] = (int32_t)length;
  memcpy((int32_t *)batch->addresses.data + i * ADDRESS_WORDS, words, ADDRESS_WORDS * sizeof *words);
  ((uint8_t *)batch->ecn.data)[i] = ecn;
}

/* Reads what came beside a message. */
static void read_control(udp_socket *socket, struct msghdr *message, received *out) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    int number = 0;
    size_t size = c->cmsg_len - CMSG_LEN(0);
    if (size == 1) {
      number = *(uint8_t *)CMSG_DATA(c);
    } else if (size >= sizeof number) {
      memcpy(&number, CMSG_DATA(c), sizeof number);
    } else {
      continue;
    }
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO && number > 0) {
      out->segment = (size_t)number;
    } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
               (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
      out->ecn = (uint8_t)(number & 3);
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      /* The kernel's counter has 32 bits and wraps. */
      socket->statistics[STAT_KERNEL_DROPS] += (uint32_t)number - socket->drops_seen;
      socket->drops_seen = (uint32_t)number;
    }
  }
}

/* Keeps the rest of a message for the next call. The slots are as many as one recvmmsg can fill. */
static void spill(udp_socket *socket, const received *message, size_t done) {
  if (socket->spill == NULL) socket->spill = malloc((size_t)RECEIVE_MESSAGES * SLOT_BYTES);
  if (socket->spill == NULL || socket->spill_count == RECEIVE_MESSAGES) return; /* loss, as in the network */
  size_t slot = socket->spill_count++;
  spilled *kept = &socket->spills[slot];
  kept->offset = slot * SLOT_BYTES;
  kept->length = message->length - done;
  kept->segment = message->segment;
  kept->ecn = message->ecn;
  memcpy(kept->words, message->words, sizeof kept->words);
  memmove(socket->spill + kept->offset, message->data + done, kept->length);
}

static void count_received(udp_socket *socket, size_t bytes) {
  socket->statistics[STAT_DATAGRAMS_RECEIVED]++;
  socket->statistics[STAT_BYTES_RECEIVED] += (double)bytes;
}

/* Describes the datagrams of a message that lies in the batch's buffer already. */
static void split(udp_socket *socket, receive_batch *batch, const received *message) {
  size_t at = 0;
  do {
    if (batch->count == batch->capacity) {
      spill(socket, message, at);
      break;
    }
    size_t length = message->length - at;
    if (length > message->segment) length = message->segment;
    describe(batch, (size_t)(message->data - (uint8_t *)batch->bytes.data) + at, length, message->words, message->ecn);
    count_received(socket, length);
    at += length;
  } while (at < message->length);
  batch->used = (size_t)(message->data - (uint8_t *)batch->bytes.data) + at;
}

/* Copies kept datagrams into the batch; true when none is left. */
static bool drain_spill(udp_socket *socket, receive_batch *batch) {
  while (socket->spill_first < socket->spill_count) {
    spilled *kept = &socket->spills[socket->spill_first];
    do {
      size_t length = kept->length < kept->segment ? kept->length : kept->segment;
      bool fits = batch->count < batch->capacity && length <= batch->bytes.length - batch->used;
      if (!fits && (batch->count > 0 || batch->used > 0)) return false;
      /* What does not fit into an empty batch fits into none: it is dropped. */
      if (fits) {
        if (length > 0) memcpy((uint8_t *)batch->bytes.data + batch->used, socket->spill + kept->offset, length);
        describe(batch, batch->used, length, kept->words, kept->ecn);
        batch->used += length;
        count_received(socket, length);
      }
      kept->offset += length;
      kept->length -= length;
    } while (kept->length > 0);
    socket->spill_first++;
  }
  socket->spill_first = socket->spill_count = 0;
  return true;
}

/* One system call for up to `wanted` messages: how many came, or -1 and errno. */
static int take_messages(udp_socket *socket, receive_plan *plan, size_t wanted) {
  for (size_t m = 0; m < wanted; m++) {
    struct msghdr *message = &plan->messages[m].msg_hdr;
    memset(message, 0, sizeof *message);
    message->msg_name = &plan->from[m];
    message->msg_namelen = sizeof plan->from[m];
    message->msg_iov = &plan->slots[m];
    message->msg_iovlen = 1;
    message->msg_control = plan->control[m];
    message->msg_controllen = RECEIVE_CONTROL_BYTES;
  }
  socket->statistics[STAT_RECEIVE_CALLS]++;
  if ((socket->features & FEATURE_RECVMMSG) != 0 && wanted > 1) {
    int came = recvmmsg(socket->fd, plan->messages, (unsigned)wanted, MSG_DONTWAIT, NULL);
    if (came >= 0 || errno != ENOSYS) return came;
    socket->features &= ~(unsigned)FEATURE_RECVMMSG;
  }
  ssize_t length = recvmsg(socket->fd, &plan->messages[0].msg_hdr, MSG_DONTWAIT);
  if (length < 0) return -1;
  plan->messages[0].msg_len = (unsigned)length;
  return 1;
}

/* True when message m is whole and described in `out`. */
static bool read_message(udp_socket *socket, receive_plan *plan, int m, received *out) {
  struct msghdr *header = &plan->messages[m].msg_hdr;
  memset(out, 0, sizeof *out);
  out->data = plan->slots[m].iov_base;
  out->length = plan->messages[m].msg_len;
  out->segment = SIZE_MAX;
  read_control(socket, header, out);
  if ((header->msg_flags & MSG_TRUNC) != 0) return false;
  address_to_words(&plan->from[m], out->words);
  return true;
}

/* Reads until the batch is full or nothing is left. */
static void receive_all(udp_socket *socket, receive_batch *batch) {
  receive_plan plan;
  received message;
  while (drain_spill(socket, batch) && batch->count < batch->capacity && !socket->is_drained) {
    size_t slots = (batch->bytes.length - batch->used) / SLOT_BYTES;
    size_t fitting = (batch->capacity - batch->count) / EXPECTED_SEGMENTS;
    bool is_aside = slots == 0;
    if (is_aside) {
      /* Too little room for whatever may come. An empty batch is served through the spill. */
      if (batch->count > 0) return;
      if (socket->spill == NULL) socket->spill = malloc((size_t)RECEIVE_MESSAGES * SLOT_BYTES);
      if (socket->spill == NULL) return;
      plan.slots[0] = (struct iovec){socket->spill, SLOT_BYTES};
      slots = 1;
    }
    size_t wanted = slots < RECEIVE_MESSAGES ? slots : RECEIVE_MESSAGES;
    if (fitting < wanted) wanted = fitting > 0 ? fitting : 1;
    for (size_t m = 0; m < wanted && !is_aside; m++) {
      plan.slots[m] = (struct iovec){(uint8_t *)batch->bytes.data + batch->used + m * SLOT_BYTES, SLOT_BYTES};
    }
    int came = take_messages(socket, &plan, wanted);
    if (came < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      /* The fate of an earlier datagram; reading it has cleared it. */
      socket->statistics[STAT_PATH_ERRORS]++;
      continue;
    }
    for (int m = 0; m < came; m++) {
      if (!read_message(socket, &plan, m, &message)) continue;
      if (is_aside) {
        spill(socket, &message, 0);
      } else {
        split(socket, batch, &message);
      }
    }
    /* Level-triggered polling tells about what arrives from now on. */
    if ((size_t)came < wanted && (socket->features & FEATURE_RECVMMSG) != 0) {
      socket->is_drained = socket->is_delivering;
      drain_spill(socket, batch);
      return;
    }
  }
}

/*
 * receive(socket, bytes, offsets, lengths, addresses, ecn, count, usedBytes): the batch's new count and
 * usedBytes as (2 * count + isMoreKept) * 2^32 + usedBytes
 */
napi_value udp_receive(napi_env env, napi_callback_info info) {
  napi_value arguments[8];
  void *data;
  receive_batch batch;
  if (!take_arguments(env, info, 8, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data) ||
      !take_span(env, arguments[1], napi_uint8_array, &batch.bytes) ||
      !take_span(env, arguments[2], napi_int32_array, &batch.offsets) ||
      !take_span(env, arguments[3], napi_int32_array, &batch.lengths) ||
      !take_span(env, arguments[4], napi_int32_array, &batch.addresses) ||
      !take_span(env, arguments[5], napi_uint8_array, &batch.ecn)) {
    return NULL;
  }
  /* Offsets are 32-bit words: more than this cannot be described. */
  if (batch.bytes.length > INT32_MAX) batch.bytes.length = INT32_MAX;
  batch.capacity = batch.offsets.length;
  if (batch.lengths.length < batch.capacity) batch.capacity = batch.lengths.length;
  if (batch.addresses.length / ADDRESS_WORDS < batch.capacity) batch.capacity = batch.addresses.length / ADDRESS_WORDS;
  if (batch.ecn.length < batch.capacity) batch.capacity = batch.ecn.length;
  /* Count and used bytes leave together in one exact number. */
  if (batch.capacity > (1 << 19)) batch.capacity = 1 << 19;
  if (!take_index(env, arguments[6], batch.capacity, &batch.count) ||
      !take_index(env, arguments[7], batch.bytes.length, &batch.used)) {
    return NULL;
  }
  udp_socket *socket = data;
  bool is_kept = false;
  if (!socket->is_closed) {
    receive_all(socket, &batch);
    is_kept = socket->spill_first < socket->spill_count;
  }
  return make_number(env, (double)(2 * batch.count + is_kept) * 4294967296.0 + (double)batch.used);
}
