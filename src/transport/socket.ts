/**
 * A UDP socket as the driver sees it: batches in, batches out. Implemented by `node:dgram`, by the
 * native addon and by the simulator; one conformance suite (test/conformance/socket.suite.ts).
 */
import type { PacketBatch } from "../wire/batch.ts";

/** What a socket calls, never from inside one of its own methods. */
export interface SocketHandlers {
  /** Datagrams can be taken with `receive`. */
  handleReadable(): void;
  /** A `send` that was cut short can go on. */
  handleWritable(): void;
  /** The socket is unusable and has closed itself. */
  handleError(error: Error): void;
  /** The system refused a feature for good (`gso`, `sendmmsg`, ...): slower from now on, nothing is lost. */
  handleDegraded?(feature: string, reason: string): void;
}

/** Counters since the socket was opened. */
export interface SocketStatistics {
  readonly datagramsSent: number;
  readonly bytesSent: number;
  readonly datagramsReceived: number;
  readonly bytesReceived: number;
  /** Datagrams the kernel dropped because the receive buffer was full; `undefined` where it does not tell. */
  readonly kernelDrops: number | undefined;
  /** Datagrams the system refused to send (unreachable, too big, not permitted). */
  readonly sendErrors: number;
}

/** A bound UDP socket. */
export interface DatagramSocket {
  /** `native`, `dgram` or `sim`, and what it uses, for people: `native (gso 44, gro)`. */
  readonly description: string;
  /** Local address and port in use, six words, see wire/address.ts. */
  readonly localAddress: Int32Array;
  /** Datagrams worth collecting in one batch: 1 where the socket has no batch call. */
  readonly preferredBatch: number;
  /** Begins delivering; called once. */
  start(handlers: SocketHandlers): void;
  /**
   * Sends datagrams `[from, to)` and returns the index of the first one not taken (= `to` when all
   * were). When it is less than `to`, `handleWritable` follows. A datagram that the system refuses
   * counts as taken: to the protocol it is loss.
   */
  send(batch: PacketBatch, from: number, to: number): number;
  /** Appends datagrams that have arrived to `batch` and returns how many; 0 when none is waiting. */
  receive(batch: PacketBatch): number;
  /**
   * Largest UDP payload that may be tried towards an address, from the local interface's MTU;
   * probing above it would be fragmented or refused locally.
   */
  maxDatagramBytes(addresses: Int32Array, index: number): number;
  readonly statistics: SocketStatistics;
  /** Closes at once; no handler is called afterwards. Calling it again does nothing. */
  close(): void;
}
