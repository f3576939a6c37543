/**
 * A batch of datagrams: one contiguous buffer and typed arrays of descriptors, made once and reused.
 * Sockets, packet protection and connections hand batches to each other; a packet is never an object.
 */
import { assert } from "../base/assert.ts";
import { ADDRESS_WORDS } from "./address.ts";

/** Explicit congestion notification codepoints of a datagram. RFC 3168 §5. */
export const ECN = { notEct: 0, ect1: 1, ect0: 2, ce: 3 } as const;

/**
 * Puts the pieces `bytes[starts[i] .. starts[i] + lengths[i])`, `from` <= i < `to`, one behind the other into
 * `target` from `at` on.
 */
export type CopyPieces = (
  bytes: Uint8Array,
  starts: Int32Array,
  lengths: Int32Array,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
) => void;

/** Copies pieces without help from the host. */
export const copyPieces: CopyPieces = (bytes, starts, lengths, from, to, target, at) => {
  for (let i = from; i < to; i++) {
    target.set(bytes.subarray(starts[i], starts[i] + lengths[i]), at);
    at += lengths[i];
  }
};

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
  /**
   * Bytes at the end of datagram `i`'s plaintext that are not in `bytes` yet but in
   * `lenders[lenderOf[i]]` from `lentFrom[i]` on; their place in `bytes` is `borrowedAt[i]`.
   * Sealing reads them there and saves a copy.
   */
  readonly borrowedBytes: Int32Array;
  readonly borrowedAt: Int32Array;
  readonly lentFrom: Int32Array;
  readonly lenderOf: Int32Array;
  readonly lenders: Uint8Array[] = [];
  /** How parts of datagrams are copied out: a host may have a faster way. */
  copyPieces: CopyPieces = copyPieces;
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
    this.borrowedBytes = new Int32Array(capacity);
    this.borrowedAt = new Int32Array(capacity);
    this.lentFrom = new Int32Array(capacity);
    this.lenderOf = new Int32Array(capacity);
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
    if (this.lenders.length > 0) this.lenders.length = 0;
  }

  /** Takes the datagrams from `index` on away again, which were not sealed. */
  truncate(index: number): void {
    if (index >= this.count) return;
    this.usedBytes = this.offsets[index];
    this.count = index;
    this.lenders.length = 0;
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
    this.borrowedBytes[index] = 0;
    const source = addressIndex * ADDRESS_WORDS;
    const target = index * ADDRESS_WORDS;
    for (let i = 0; i < ADDRESS_WORDS; i++) this.addresses[target + i] = addresses[source + i];
    this.usedBytes += lengthBytes;
    return index;
  }

  /**
   * Says that the last `lengthBytes` of datagram `index`'s plaintext, at `bytes[at ..]`, are to be read from
   * `lender[from ..]`, which stays as it is until the datagram is sealed or `settle` is called.
   */
  borrow(index: number, at: number, lengthBytes: number, lender: Uint8Array, from: number): void {
    const { lenders } = this;
    // Datagrams in a row mostly borrow from one chunk.
    if (lenders.length === 0 || lenders[lenders.length - 1] !== lender) lenders.push(lender);
    this.borrowedBytes[index] = lengthBytes;
    this.borrowedAt[index] = at;
    this.lentFrom[index] = from;
    this.lenderOf[index] = lenders.length - 1;
  }

  /** Copies to its place what datagrams of the batch have borrowed. */
  settle(): void {
    if (this.lenders.length === 0) return;
    for (let i = 0; i < this.count; i++) {
      const length = this.borrowedBytes[i];
      if (length === 0) continue;
      const from = this.lentFrom[i];
      this.bytes.set(this.lenders[this.lenderOf[i]].subarray(from, from + length), this.borrowedAt[i]);
      this.borrowedBytes[i] = 0;
    }
    this.lenders.length = 0;
  }

  /** Forgets all lenders: datagrams `[from, to)`, the only ones that borrow, are sealed. */
  release(from: number, to: number): void {
    if (this.lenders.length === 0) return;
    this.lenders.length = 0;
    this.borrowedBytes.fill(0, from, to);
  }

  /** A view (not a copy) of datagram `index`. */
  datagram(index: number): Uint8Array {
    const offset = this.offsets[index];
    return this.bytes.subarray(offset, offset + this.lengths[index]);
  }
}
