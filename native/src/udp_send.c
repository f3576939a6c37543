/*
 * Sending a batch: runs of equal datagrams to one address become super-packets (UDP_SEGMENT), several
 * messages go out per system call. What the kernel refuses is tried in the next simpler way.
 */
#include "udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/* Room for UDP_SEGMENT (2 bytes) and IP_TOS or IPV6_TCLASS (4 bytes), each with its header. */
#define SEND_CONTROL_BYTES (CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(int)))

typedef struct {
  span bytes;
  span offsets;
  span lengths;
  span addresses;
  span ecn;
} send_batch;

/* Messages for one sendmmsg. Message m carries datagrams [first[m], end[m]). */
typedef struct {
  struct mmsghdr messages[SEND_MESSAGES];
  struct iovec pieces[SEND_MESSAGES * GSO_SEGMENTS];
  struct sockaddr_storage to[SEND_MESSAGES];
  _Alignas(struct cmsghdr) char control[SEND_MESSAGES][SEND_CONTROL_BYTES];
  size_t first[SEND_MESSAGES];
  size_t end[SEND_MESSAGES];
  size_t count;
} send_plan;

/* Finds datagram i. False when it does not lie inside the buffer. */
static bool find_datagram(const send_batch *batch, size_t i, uint8_t **datagram, size_t *length) {
  int32_t offset = read_once((int32_t *)batch->offsets.data + i);
  int32_t bytes = read_once((int32_t *)batch->lengths.data + i);
  if (offset < 0 || bytes < 0 || (size_t)offset + (size_t)bytes > batch->bytes.length) return false;
  *datagram = (uint8_t *)batch->bytes.data + offset;
  *length = (size_t)bytes;
  return true;
}

static void add_control(struct msghdr *message, size_t *used, int level, int type, const void *value, size_t size) {
  struct cmsghdr *c = (struct cmsghdr *)((char *)message->msg_control + *used);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(c), value, size);
  *used += CMSG_SPACE(size);
}

/*
 * Joins what may share a super-packet with datagram `first`, which pieces[0] holds already; returns the
 * index after the last one.
 */
static size_t gather_run(const send_batch *batch, size_t first, size_t to, bool may_join, struct iovec *pieces,
                         size_t *piece_count) {
  size_t length = pieces[0].iov_len;
  *piece_count = 1;
  if (!may_join || length == 0) return first + 1;
  const int32_t *words = (const int32_t *)batch->addresses.data;
  const uint8_t *ecn = batch->ecn.data;
  size_t total = length;
  size_t i = first + 1;
  for (; i < to && i - first < GSO_SEGMENTS; i++) {
    uint8_t *next;
    size_t next_length;
    if (!find_datagram(batch, i, &next, &next_length) || next_length == 0 || next_length > length ||
        total + next_length > GSO_BYTES || ecn[i] != ecn[first] ||
        memcmp(words + i * ADDRESS_WORDS, words + first * ADDRESS_WORDS, ADDRESS_WORDS * sizeof *words) != 0) {
      break;
    }
    struct iovec *last = &pieces[*piece_count - 1];
    if ((uint8_t *)last->iov_base + last->iov_len == next) {
      last->iov_len += next_length;
    } else {
      pieces[(*piece_count)++] = (struct iovec){next, next_length};
    }
    total += next_length;
    /* Only the last segment may be shorter. */
    if (next_length < length) return i + 1;
  }
  return i;
}

/* Adds one message that begins with datagram `first`, `piece`; returns the index after its last one. */
static size_t plan_message(const udp_socket *socket, const send_batch *batch, send_plan *plan, size_t first, size_t to,
                           struct iovec piece, bool may_join, size_t *pieces_used) {
  size_t m = plan->count;
  struct msghdr *message = &plan->messages[m].msg_hdr;
  const int32_t *words = (const int32_t *)batch->addresses.data + first * ADDRESS_WORDS;
  memset(message, 0, sizeof *message);
  words_to_address(socket, words, &plan->to[m], &message->msg_namelen);
  message->msg_name = &plan->to[m];
  message->msg_iov = plan->pieces + *pieces_used;
  message->msg_iov[0] = piece;
  size_t piece_count;
  size_t end = gather_run(batch, first, to, may_join, message->msg_iov, &piece_count);
  message->msg_iovlen = piece_count;
  *pieces_used += piece_count;
  size_t used = 0;
  message->msg_control = plan->control[m];
  if (end - first > 1) {
    uint16_t segment = (uint16_t)piece.iov_len;
    add_control(message, &used, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
  }
  int tos = ((uint8_t *)batch->ecn.data)[first] & 3;
  if (tos != 0) {
    bool is_ipv4 = words[0] == 0 && words[1] == 0 && words[2] == 0xffff;
    add_control(message, &used, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, is_ipv4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof tos);
  }
  message->msg_controllen = used;
  if (used == 0) message->msg_control = NULL;
  plan->first[m] = first;
  plan->end[m] = end;
  plan->count++;
  return end;
}

/* Whether the kernel could ever send datagram i; it would refuse the others one call at a time. */
static bool is_sendable(const udp_socket *socket, const send_batch *batch, size_t i, size_t length) {
  struct sockaddr_storage address;
  socklen_t size;
  return length < SLOT_BYTES &&
         words_to_address(socket, (const int32_t *)batch->addresses.data + i * ADDRESS_WORDS, &address, &size);
}

/*
 * Plans messages from `from` on. Datagrams before the first message that cannot be sent at all are
 * counted and passed over; returns where the plan begins, or SIZE_MAX for a datagram outside the buffer.
 */
static size_t make_plan(udp_socket *socket, const send_batch *batch, size_t from, size_t to, size_t joined_from,
                        send_plan *plan) {
  size_t pieces_used = 0;
  size_t next = from;
  plan->count = 0;
  while (next < to && plan->count < SEND_MESSAGES) {
    uint8_t *datagram;
    size_t length;
    if (!find_datagram(batch, next, &datagram, &length)) return plan->count == 0 ? SIZE_MAX : from;
    if (!is_sendable(socket, batch, next, length)) {
      if (plan->count > 0) break;
      socket->statistics[STAT_SEND_ERRORS]++;
      from = ++next;
      continue;
    }
    bool may_join = (socket->features & FEATURE_GSO) != 0 && next >= joined_from;
    struct iovec piece = {datagram, length};
    next = plan_message(socket, batch, plan, next, to, piece, may_join, &pieces_used);
  }
  return from;
}

/* Sends what is planned: the number of messages that went out, or -1 and errno. */
static int transmit(udp_socket *socket, send_plan *plan) {
  socket->statistics[STAT_SEND_CALLS]++;
  if ((socket->features & FEATURE_SENDMMSG) != 0 && plan->count > 1) {
    int sent = sendmmsg(socket->fd, plan->messages, (unsigned)plan->count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0 || errno != ENOSYS) return sent;
    socket->features &= ~(unsigned)FEATURE_SENDMMSG;
  }
  return sendmsg(socket->fd, &plan->messages[0].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1;
}

static size_t count_sent(udp_socket *socket, const send_plan *plan, int sent) {
  for (int m = 0; m < sent; m++) {
    const struct msghdr *message = &plan->messages[m].msg_hdr;
    for (size_t piece = 0; piece < message->msg_iovlen; piece++) {
      socket->statistics[STAT_BYTES_SENT] += (double)message->msg_iov[piece].iov_len;
    }
    socket->statistics[STAT_DATAGRAMS_SENT] += (double)(plan->end[m] - plan->first[m]);
  }
  return plan->end[sent - 1];
}

/*
 * Sends datagrams [from, to); returns the first one not taken, or SIZE_MAX for one outside the buffer.
 *
 * A refused super-packet is sent again datagram by datagram; when one of those goes through, the
 * super-packet was at fault and GSO stays off for this socket. When none does, the datagrams were
 * (too big for the path's MTU, mostly), and GSO stays.
 */
static size_t send_range(udp_socket *socket, const send_batch *batch, size_t from, size_t to) {
  send_plan plan;
  size_t next = from;
  size_t joined_from = 0;
  bool is_gso_suspected = false;
  bool is_retried = false;
  while (next < to) {
    if (next >= joined_from) is_gso_suspected = false;
    next = make_plan(socket, batch, next, to, joined_from, &plan);
    if (next == SIZE_MAX || plan.count == 0) return next;
    int sent = transmit(socket, &plan);
    if (sent > 0) {
      if (is_gso_suspected) socket->features &= ~(unsigned)FEATURE_GSO;
      is_gso_suspected = false;
      is_retried = false;
      next = count_sent(socket, &plan, sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      socket->wants_writable = true;
      udp_watch(socket);
      return next;
    }
    bool is_joined = plan.end[0] - plan.first[0] > 1;
    if (is_joined && (errno == EIO || errno == EINVAL || errno == EMSGSIZE)) {
      joined_from = plan.end[0];
      is_gso_suspected = true;
      continue;
    }
    /* Perhaps the news of an earlier datagram's fate (ICMP); then the same call works now. */
    if (!is_retried && errno != ENOBUFS && errno != EMSGSIZE) {
      is_retried = true;
      continue;
    }
    is_retried = false;
    socket->statistics[STAT_SEND_ERRORS] += (double)(plan.end[0] - plan.first[0]);
    next = plan.end[0];
  }
  return next;
}

/*
 * send(socket, bytes, offsets, lengths, addresses, ecn, from, to): index of the first datagram not taken,
 * plus 2^32 when a feature was switched off by this call
 */
napi_value udp_send(napi_env env, napi_callback_info info) {
  napi_value arguments[8];
  void *data;
  send_batch batch;
  size_t from, to;
  if (!take_arguments(env, info, 8, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data) ||
      !take_span(env, arguments[1], napi_uint8_array, &batch.bytes) ||
      !take_span(env, arguments[2], napi_int32_array, &batch.offsets) ||
      !take_span(env, arguments[3], napi_int32_array, &batch.lengths) ||
      !take_span(env, arguments[4], napi_int32_array, &batch.addresses) ||
      !take_span(env, arguments[5], napi_uint8_array, &batch.ecn)) {
    return NULL;
  }
  size_t most = batch.offsets.length;
  if (batch.lengths.length < most) most = batch.lengths.length;
  if (batch.addresses.length / ADDRESS_WORDS < most) most = batch.addresses.length / ADDRESS_WORDS;
  if (batch.ecn.length < most) most = batch.ecn.length;
  if (!take_index(env, arguments[7], most, &to) || !take_index(env, arguments[6], to, &from)) return NULL;
  udp_socket *socket = data;
  if (socket->is_closed) return make_number(env, (double)to);
  unsigned features = socket->features;
  size_t next = send_range(socket, &batch, from, to);
  if (next == SIZE_MAX) return throw_type_error(env, "a datagram to send lies outside the buffer");
  return make_number(env, (double)next + (socket->features == features ? 0 : 4294967296.0));
}
