/**
 * The UDP socket every machine has: node:dgram behind the batch interface.
 *
 * Node makes a system call and an object per datagram and cannot set DF, so this is the slow path;
 * what it can do is stay bounded: datagrams that wait to leave and that wait to be taken both live in
 * a fixed number of bytes.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { MAX_DATAGRAM_BYTES } from "../../base/limits.ts";
import type { DatagramSocket, SocketHandlers, SocketStatistics } from "../../transport/socket.ts";
import { ADDRESS_WORDS } from "../../wire/address.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import { releaseBuffer } from "../release-buffer.ts";
import { parseAddress } from "./address-text.ts";
import { HostCache } from "./host-cache.ts";
import { InterfaceMtu } from "./interface-mtu.ts";
import {
  bindFailure,
  notAnAddress,
  RECEIVE_BUFFER_BYTES,
  SEND_BUFFER_BYTES,
  type SocketOptions,
} from "./socket-options.ts";

/** Bytes that may wait inside Node to leave: half of what the kernel is asked to buffer. */
const SEND_QUEUE_BYTES = 2 * 1024 * 1024;

/** Bytes received and not yet taken: two full kernel buffers, so that a slow turn loses in the kernel first. */
const RECEIVE_QUEUE_BYTES = 8 * 1024 * 1024;

/** Datagrams received and not yet taken: bounds what empty datagrams cost, about 300 bytes each in Node. */
const RECEIVE_QUEUE_DATAGRAMS = 16_384;

/** Senders whose address text was parsed; beyond it the memory starts anew. */
const SENDERS_REMEMBERED = 1_024;

/** Errors that concern one datagram or one destination, never the socket. */
const PASSING_ERRORS: ReadonlySet<string> = new Set([
  "EAGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINTR",
  "EMSGSIZE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENOBUFS",
  "ENOMEM",
  "EPERM",
]);

/**
 * Opens and binds a UDP socket on node:dgram.
 *
 * @throws GodwitError PORT_IN_USE or CONFIGURATION when it cannot be bound.
 */
export async function openDgramSocket(options: SocketOptions = {}): Promise<DatagramSocket> {
  const port = options.port ?? 0;
  const host = options.host ?? "::";
  const words = parseAddress(host, port);
  if (words === undefined) throw notAnAddress(host);
  const bufferBytes = options.receiveBufferBytes ?? RECEIVE_BUFFER_BYTES;
  try {
    const ipv6 = host.includes(":");
    return new DgramSocket(await bind(ipv6, host, port), ipv6, bufferBytes);
  } catch (error) {
    if (options.host !== undefined || !isWithoutIpv6(error)) throw bindFailure(error, host, port);
  }
  try {
    return new DgramSocket(await bind(false, "0.0.0.0", port), false, bufferBytes);
  } catch (error) {
    throw bindFailure(error, "0.0.0.0", port);
  }
}

function isWithoutIpv6(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" || code === "EINVAL";
}

function bind(ipv6: boolean, address: string, port: number): Promise<Socket> {
  const family = ipv6 ? 6 : 4;
  const socket = createSocket({
    type: ipv6 ? "udp6" : "udp4",
    // Every host given to send() is an address already: answering at once keeps the datagram in this turn.
    lookup: (host, _options, callback) => callback(null, host, family),
  });
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once("error", fail);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", fail);
      resolve(socket);
    });
  });
}

/** Asks for a buffer, taking less where the system refuses instead of cutting it down. */
function growBuffer(set: (bytes: number) => void, bytes: number): void {
  for (let ask = bytes; ask >= 65_536; ask /= 2) {
    try {
      set(ask);
      return;
    } catch {
      // macOS answers ENOBUFS above kern.ipc.maxsockbuf: ask for half.
    }
  }
}

class DgramSocket implements DatagramSocket {
  readonly description: string;
  readonly localAddress: Int32Array;
  readonly preferredBatch = 1;

  private readonly socket: Socket;
  private readonly hosts: HostCache;
  private readonly mtu = new InterfaceMtu();
  private handlers: SocketHandlers | undefined;
  private closed = false;

  /**
   * Datagrams handed to Node, which keeps a reference and not a copy while the kernel's buffer is
   * full. `slabUsedBytes` falls back to 0 whenever nothing waits, so the usual case stays in cache.
   */
  private readonly slab = new Uint8Array(SEND_QUEUE_BYTES);
  private slabUsedBytes = 0;
  private isSendCutShort = false;
  private readonly handleSent = (error: Error | null): void => this.countSent(error);

  /** Received and not yet taken, in order; the first `taken` of them are gone already. */
  private pending: Buffer[] = [];
  private pendingFrom: RemoteInfo[] = [];
  private taken = 0;
  private pendingBytes = 0;
  private isReadableScheduled = false;
  private readonly handleImmediate = (): void => this.deliver();
  private senders = new Map<string, Int32Array>();

  private datagramsSent = 0;
  private bytesSent = 0;
  private datagramsReceived = 0;
  private bytesReceived = 0;
  private sendErrors = 0;

  constructor(socket: Socket, ipv6: boolean, bufferBytes: number) {
    this.socket = socket;
    this.hosts = new HostCache(ipv6);
    this.description = ipv6 ? "dgram (IPv6 and IPv4)" : "dgram (IPv4)";
    const local = socket.address();
    this.localAddress = parseAddress(local.address, local.port) ?? new Int32Array(ADDRESS_WORDS);
    growBuffer((bytes) => socket.setRecvBufferSize(bytes), bufferBytes);
    growBuffer((bytes) => socket.setSendBufferSize(bytes), SEND_BUFFER_BYTES);
    socket.on("message", (bytes, from) => this.enqueue(bytes, from));
    socket.on("error", (error) => this.fail(error));
  }

  get statistics(): SocketStatistics {
    return {
      datagramsSent: this.datagramsSent,
      bytesSent: this.bytesSent,
      datagramsReceived: this.datagramsReceived,
      bytesReceived: this.bytesReceived,
      kernelDrops: undefined,
      sendErrors: this.sendErrors,
    };
  }

  start(handlers: SocketHandlers): void {
    this.handlers = handlers;
    if (this.taken < this.pending.length) this.scheduleDeliver();
  }

  send(batch: PacketBatch, from: number, to: number): number {
    if (this.closed) return to;
    for (let i = from; i < to; i++) {
      const length = batch.lengths[i];
      if (this.slabUsedBytes + length > SEND_QUEUE_BYTES) {
        if (length <= SEND_QUEUE_BYTES) {
          this.isSendCutShort = true;
          return i;
        }
        this.sendErrors++;
        continue;
      }
      this.sendOne(batch, i, length);
    }
    return to;
  }

  private sendOne(batch: PacketBatch, index: number, length: number): void {
    const host = this.hosts.host(batch.addresses, index);
    const port = batch.addresses[index * ADDRESS_WORDS + 4];
    // Node throws for port 0; the kernel would refuse it.
    if (host === undefined || port <= 0 || port > 65_535) {
      this.sendErrors++;
      return;
    }
    const start = this.slabUsedBytes;
    const offset = batch.offsets[index];
    this.slab.set(batch.bytes.subarray(offset, offset + length), start);
    this.socket.send(this.slab, start, length, port, host, this.handleSent);
    this.datagramsSent++;
    this.bytesSent += length;
    this.slabUsedBytes = this.socket.getSendQueueCount() === 0 ? 0 : start + length;
  }

  private countSent(error: Error | null): void {
    if (error !== null) this.sendErrors++;
    if (this.closed || this.socket.getSendQueueCount() > 0) return;
    this.slabUsedBytes = 0;
    if (!this.isSendCutShort) return;
    this.isSendCutShort = false;
    // From here a sender would fill the queue again and again without timers ever running.
    setImmediate(() => {
      if (!this.closed) this.handlers?.handleWritable();
    });
  }

  private enqueue(bytes: Buffer, from: RemoteInfo): void {
    const waiting = this.pending.length - this.taken;
    if (waiting >= RECEIVE_QUEUE_DATAGRAMS || this.pendingBytes + bytes.length > RECEIVE_QUEUE_BYTES) return;
    this.pending.push(bytes);
    this.pendingFrom.push(from);
    this.pendingBytes += bytes.length;
    this.scheduleDeliver();
  }

  private scheduleDeliver(): void {
    if (this.isReadableScheduled || this.handlers === undefined) return;
    this.isReadableScheduled = true;
    setImmediate(this.handleImmediate);
  }

  private deliver(): void {
    this.isReadableScheduled = false;
    if (this.closed) return;
    this.handlers?.handleReadable();
    if (this.taken < this.pending.length) this.scheduleDeliver();
  }

  receive(batch: PacketBatch): number {
    let count = 0;
    while (this.taken < this.pending.length) {
      const bytes = this.pending[this.taken];
      if (!batch.hasRoom(bytes.length)) {
        if (batch.count > 0) break;
        // Larger than a whole batch: nobody could ever take it.
        this.take();
        continue;
      }
      batch.bytes.set(bytes, batch.usedBytes);
      batch.push(bytes.length, this.senderOf(this.pendingFrom[this.taken]), 0);
      this.datagramsReceived++;
      this.bytesReceived += bytes.length;
      this.take();
      count++;
    }
    return count;
  }

  /** Takes the first one off the queue; its bytes are gone then. */
  private take(): void {
    const bytes = this.pending[this.taken];
    this.pendingBytes -= bytes.length;
    releaseBuffer(bytes);
    this.taken++;
    if (this.taken < this.pending.length && this.taken < 1_024) return;
    // Usually everything was taken; else move the rest down once in a while.
    this.pending = this.pending.slice(this.taken);
    this.pendingFrom = this.pendingFrom.slice(this.taken);
    this.taken = 0;
  }

  private senderOf(from: RemoteInfo): Int32Array {
    let words = this.senders.get(from.address);
    if (words === undefined) {
      words = parseAddress(from.address, 0) ?? new Int32Array(ADDRESS_WORDS);
      if (this.senders.size >= SENDERS_REMEMBERED) this.senders = new Map();
      this.senders.set(from.address, words);
    }
    words[4] = from.port;
    return words;
  }

  maxDatagramBytes(addresses: Int32Array, index: number): number {
    return Math.min(this.mtu.datagramBytes(addresses, index), MAX_DATAGRAM_BYTES);
  }

  private fail(error: Error): void {
    const code = (error as { code?: unknown }).code;
    if (this.closed || (typeof code === "string" && PASSING_ERRORS.has(code))) return;
    this.close();
    this.handlers?.handleError(error);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.pending = [];
    this.pendingFrom = [];
    this.taken = 0;
    this.pendingBytes = 0;
    this.socket.close();
  }
}
