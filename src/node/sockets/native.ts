/** The UDP socket of the native addon: super-packets and batches of system calls, one crossing each way. */
import { MAX_DATAGRAM_BYTES } from "../../base/limits.ts";
import type { DatagramSocket, SocketHandlers, SocketStatistics } from "../../transport/socket.ts";
import { ADDRESS_WORDS, isIpv4Address, sameAddress } from "../../wire/address.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import { parseAddress } from "./address-text.ts";
import { payloadBytes, UNKNOWN_PATH_DATAGRAM_BYTES } from "./interface-mtu.ts";
import type { NativeBinding, NativeHandle } from "./native-loader.ts";
import { bindFailure, notAnAddress, RECEIVE_BUFFER_BYTES, type SocketOptions } from "./socket-options.ts";

/** What a socket may use, as bits: FEATURE_* of native/src/udp.h. Tests switch some off. */
export const NATIVE_FEATURES = { gso: 1, gro: 2, sendmmsg: 4, recvmmsg: 8, all: 15 } as const;

/** STAT_* of native/src/udp.h, in its order. */
const STATISTICS = {
  datagramsSent: 0,
  bytesSent: 1,
  datagramsReceived: 2,
  bytesReceived: 3,
  kernelDrops: 4,
  sendErrors: 5,
  pathErrors: 6,
  pathMtu: 7,
  features: 8,
  sendCalls: 9,
  receiveCalls: 10,
} as const;

/** Added to what `send` returns when a feature was switched off, and the place of the count in `receive`'s. */
const TWO_TO_32 = 0x1_0000_0000;

/**
 * Smallest MTU believed: RFC 8200 §5 for IPv6, taken for IPv4 too. The kernel may have learnt a smaller
 * one from an ICMP message that anyone can forge.
 */
const MTU_FLOOR_BYTES = 1_280;

/** How long a looked-up MTU is trusted: routes change rarely, and probing finds out anyway. */
const MTU_TRUSTED_MS = 5_000;

/** Four super-packets: enough to spread the cost of a call, little enough to stay in cache. */
const PREFERRED_BATCH = 176;

/** Facts beside SocketStatistics that only this socket knows. */
export interface NativeSocketStatistics extends SocketStatistics {
  /** ICMP errors and local refusals reported for datagrams already sent. */
  readonly pathErrors: number;
  /** MTU the last "too big" message named, in bytes; 0 when there was none. Never acted on. */
  readonly reportedPathMtu: number;
  readonly sendCalls: number;
  readonly receiveCalls: number;
}

/**
 * Opens and binds a UDP socket of the addon.
 *
 * @param features - Bits of NATIVE_FEATURES it may use.
 * @throws GodwitError PORT_IN_USE or CONFIGURATION when it cannot be bound.
 */
export function openNativeSocket(
  binding: NativeBinding,
  options: SocketOptions = {},
  features: number = NATIVE_FEATURES.all,
): NativeSocket {
  const port = options.port ?? 0;
  const host = options.host ?? "::";
  const words = parseAddress(host, port);
  if (words === undefined) throw notAnAddress(host);
  const bufferBytes = options.receiveBufferBytes ?? RECEIVE_BUFFER_BYTES;
  const family = host.includes(":") ? 6 : 4;
  try {
    return new NativeSocket(binding, family, words, bufferBytes, features);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    const isWithoutIpv6 = code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL";
    if (options.host !== undefined || !isWithoutIpv6) throw bindFailure(error, host, port);
  }
  try {
    return new NativeSocket(binding, 4, parseAddress("0.0.0.0", port)!, bufferBytes, features);
  } catch (error) {
    throw bindFailure(error, "0.0.0.0", port);
  }
}

/** A socket of the addon. */
export class NativeSocket implements DatagramSocket {
  readonly localAddress = new Int32Array(ADDRESS_WORDS);
  readonly preferredBatch = PREFERRED_BATCH;

  private readonly binding: NativeBinding;
  private readonly handle: NativeHandle;
  private readonly numbers = new Float64Array(Object.keys(STATISTICS).length);
  private readonly mtuAddress = new Int32Array(ADDRESS_WORDS);
  private mtuDatagramBytes = 0;
  private mtuAtMs = -Infinity;
  private features: number;
  /** Those whose loss was not yet told. */
  private toldFeatures: number;
  private handlers: SocketHandlers | undefined;
  private isClosed = false;
  private readonly handleKept = (): void => this.deliver();

  /** @throws Error with the system's `code` when it cannot be bound. */
  constructor(
    binding: NativeBinding,
    family: 4 | 6,
    address: Int32Array,
    bufferBytes: number,
    features: number,
  ) {
    this.binding = binding;
    this.handle = binding.openSocket(
      family,
      address,
      bufferBytes,
      features,
      () => this.deliver(),
      () => this.handlers?.handleWritable(),
      () => this.fail(),
    );
    binding.localAddress(this.handle, this.localAddress);
    this.features = this.number(STATISTICS.features);
    this.toldFeatures = this.features;
  }

  get description(): string {
    this.features = this.number(STATISTICS.features);
    const names = [
      (this.features & NATIVE_FEATURES.gso) !== 0 ? "gso" : undefined,
      (this.features & NATIVE_FEATURES.gro) !== 0 ? "gro" : undefined,
      (this.features & NATIVE_FEATURES.sendmmsg) !== 0 ? "sendmmsg" : undefined,
      (this.features & NATIVE_FEATURES.recvmmsg) !== 0 ? "recvmmsg" : undefined,
    ].filter((name) => name !== undefined);
    return `native (${names.length === 0 ? "one datagram a call" : names.join(", ")})`;
  }

  get statistics(): NativeSocketStatistics {
    this.binding.statistics(this.handle, this.numbers);
    const { numbers } = this;
    return {
      datagramsSent: numbers[STATISTICS.datagramsSent],
      bytesSent: numbers[STATISTICS.bytesSent],
      datagramsReceived: numbers[STATISTICS.datagramsReceived],
      bytesReceived: numbers[STATISTICS.bytesReceived],
      kernelDrops: numbers[STATISTICS.kernelDrops],
      sendErrors: numbers[STATISTICS.sendErrors],
      pathErrors: numbers[STATISTICS.pathErrors],
      reportedPathMtu: numbers[STATISTICS.pathMtu],
      sendCalls: numbers[STATISTICS.sendCalls],
      receiveCalls: numbers[STATISTICS.receiveCalls],
    };
  }

  private number(which: number): number {
    this.binding.statistics(this.handle, this.numbers);
    return this.numbers[which];
  }

  start(handlers: SocketHandlers): void {
    this.handlers = handlers;
    this.binding.startSocket(this.handle);
  }

  send(batch: PacketBatch, from: number, to: number): number {
    const { bytes, offsets, lengths, addresses, ecn } = batch;
    const next = this.binding.send(this.handle, bytes, offsets, lengths, addresses, ecn, from, to);
    if (next < TWO_TO_32) return next;
    this.noticeDegraded();
    return next - TWO_TO_32;
  }

  receive(batch: PacketBatch): number {
    const { bytes, offsets, lengths, addresses, ecn, count, usedBytes } = batch;
    const result = this.binding.receive(
      this.handle,
      bytes,
      offsets,
      lengths,
      addresses,
      ecn,
      count,
      usedBytes,
    );
    const countAndKept = Math.floor(result / TWO_TO_32);
    batch.count = countAndKept >>> 1;
    // An integer to the compiler too: a field that becomes a float undoes all code compiled for batches.
    batch.usedBytes = (result % TWO_TO_32) | 0;
    batch.opened.fill(0, count, batch.count);
    if (this.binding.copyPieces !== undefined) batch.copyPieces = this.binding.copyPieces;
    // Kept in user memory, where the kernel's "readable" says nothing about it.
    if ((countAndKept & 1) === 1 && this.handlers !== undefined) setImmediate(this.handleKept);
    return batch.count - count;
  }

  private deliver(): void {
    if (!this.isClosed) this.handlers?.handleReadable();
  }

  private noticeDegraded(): void {
    const before = this.toldFeatures;
    this.toldFeatures = this.features = this.number(STATISTICS.features);
    const lost = before & ~this.features;
    setImmediate(() => {
      if (this.isClosed) return;
      for (const feature of ["gso", "gro", "sendmmsg", "recvmmsg"] as const) {
        if ((lost & NATIVE_FEATURES[feature]) === 0) continue;
        this.handlers?.handleDegraded?.(feature, "the system refused it; datagrams go out in a simpler way");
      }
    });
  }

  maxDatagramBytes(addresses: Int32Array, index: number): number {
    const nowMs = performance.now();
    if (
      nowMs - this.mtuAtMs > MTU_TRUSTED_MS ||
      this.isClosed ||
      !sameAddress(this.mtuAddress, 0, addresses, index)
    ) {
      this.mtuAtMs = nowMs;
      const at = index * ADDRESS_WORDS;
      this.mtuAddress.set(addresses.subarray(at, at + ADDRESS_WORDS));
      const mtuBytes = this.binding.pathMtu(this.handle, this.mtuAddress);
      this.mtuDatagramBytes =
        mtuBytes === 0
          ? UNKNOWN_PATH_DATAGRAM_BYTES
          : Math.min(
              payloadBytes(Math.max(mtuBytes, MTU_FLOOR_BYTES), isIpv4Address(addresses, index)),
              MAX_DATAGRAM_BYTES,
            );
    }
    return this.mtuDatagramBytes;
  }

  private fail(): void {
    if (this.isClosed) return;
    this.close();
    this.handlers?.handleError(new Error("the system stopped watching the UDP socket"));
  }

  close(): void {
    this.isClosed = true;
    this.binding.closeSocket(this.handle);
  }
}
