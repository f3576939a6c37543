/**
 * A batch of datagrams: one contiguous buffer and typed arrays of descriptors, made once and reused.
 * Sockets, packet protection and connections hand batches to each other; a packet is never an object.
 */
import { assert } from "../base/assert.ts";
import { ADDRESS_WORDS } from "./address.ts";

/** Explicit congestion notification codepoints of a datagram. RFC 3168 §5. */
export const ECN = { notEct: 0, ect1: 1, ect0: 2, ce: 3 } as const;

/** Datagrams to send, or datagrams received. */
export class PacketBatch {
  /** All datagrams, back to back when sending, so that equal-sized runs go out as one super-packet. */
  readonly bytes: Uint8Array;
  /** First byte of datagram `i` in `bytes`. */
  readonly offsets: Int32Array;
  /** Bytes of datagram `i`, header and authentication tag included. */
  readonly lengths: Int32Array;
  /** Full packet number of datagram `i`: set before sealing or opening. */
  readonly packetNumbers: Float64Array;
  /** Remote address of datagram `i`, six words each, see address.ts. */
  readonly addresses: Int32Array;
  /** ECN codepoint of datagram `i`. */
  readonly ecn: Uint8Array;
  /** After opening: 1 if datagram `i` was authentic, else 0. */
  readonly opened: Uint8Array;
  /** Datagrams in the batch. */
  count = 0;
  /** Bytes of `bytes` in use. */
  usedBytes = 0;

  /** @param capacity - Most datagrams. @param capacityBytes - Most bytes, all datagrams together. */
  constructor(capacity: number, capacityBytes: number) {
    assert(capacity > 0 && capacityBytes > 0, "a batch needs room");
    this.bytes = new Uint8Array(capacityBytes);
    this.offsets = new Int32Array(capacity);
    this.lengths = new Int32Array(capacity);
    this.packetNumbers = new Float64Array(capacity);
    this.addresses = new Int32Array(capacity * ADDRESS_WORDS);
    this.ecn = new Uint8Array(capacity);
    this.opened = new Uint8Array(capacity);
  }

  /** Most datagrams the batch can hold. */
  get capacity(): number {
    return this.lengths.length;
  }

  /** Whether one more datagram of `bytes` fits. */
  hasRoom(bytes: number): boolean {
    return this.count < this.lengths.length && this.usedBytes + bytes <= this.bytes.length;
  }

  /** Empties the batch; the buffers stay. */
  clear(): void {
    this.count = 0;
    this.usedBytes = 0;
  }

  /**
   * Appends a datagram whose bytes were written at `bytes[usedBytes ..]` and returns its index.
   * The address is copied from `addresses[addressIndex]`.
   */
  push(lengthBytes: number, addresses: Int32Array, addressIndex: number): number {
    const index = this.count++;
    this.offsets[index] = this.usedBytes;
    this.lengths[index] = lengthBytes;
    this.ecn[index] = 0;
    this.opened[index] = 0;
    const source = addressIndex * ADDRESS_WORDS;
    const target = index * ADDRESS_WORDS;
    for (let i = 0; i < ADDRESS_WORDS; i++) this.addresses[target + i] = addresses[source + i];
    this.usedBytes += lengthBytes;
    return index;
  }

  /** A view (not a copy) of datagram `index`. */
  datagram(index: number): Uint8Array {
    const offset = this.offsets[index];
    return this.bytes.subarray(offset, offset + this.lengths[index]);
  }
}
