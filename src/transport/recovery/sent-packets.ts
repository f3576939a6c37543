/**
 * The table of sent packets: ring-buffered typed arrays indexed by packet number. A sent packet is a
 * row, never an object; a row lives until the packet is acknowledged, or lost for good.
 */
import { assert } from "../../base/assert.ts";
import { SENT_PACKETS_TRACKED } from "../../base/limits.ts";

/** The packet is ack-eliciting, counted in flight, and its fate is not known. */
export const OUTSTANDING = 1;
/** The packet carries only acknowledgements: not in flight, never lost. */
export const SILENT = 2;
/** The packet was acknowledged. */
export const ACKED = 4;
/** The packet was declared lost; the row is kept to recognise a late acknowledgement. */
export const LOST = 8;
/** The number was left out on purpose. */
export const SKIPPED = 16;
/** The packet is a probe for a larger datagram size: its loss says nothing about congestion. */
export const MTU_PROBE = 32;
/** The packet was sent while the application, not the network, was the limit. */
export const APP_LIMITED = 64;
/** The packet was sent with ECT(0). RFC 9000 §13.4. */
export const MARKED = 128;

const FIRST_CAPACITY = 1_024;

/** Rows of sent packets from `lowest` (inclusive) to `next` (exclusive). */
export class SentPackets {
  /** Bytes of UDP payload. */
  sizes = new Int32Array(FIRST_CAPACITY);
  flags = new Uint8Array(FIRST_CAPACITY);
  sentAtUs = new Float64Array(FIRST_CAPACITY);
  /** Sending time of the packet that started this one's send interval (P.first_sent_time). */
  firstSentAtUs = new Float64Array(FIRST_CAPACITY);
  /** Time of the latest acknowledgement when this packet was sent (P.delivered_time). */
  deliveredAtUs = new Float64Array(FIRST_CAPACITY);
  /** Bytes delivered when this packet was sent (P.delivered). */
  deliveredBytes = new Float64Array(FIRST_CAPACITY);
  /** Bytes lost when this packet was sent (P.lost). */
  lostBytes = new Float64Array(FIRST_CAPACITY);
  /** Bytes in flight just after this packet was sent (P.tx_in_flight). */
  bytesInFlight = new Float64Array(FIRST_CAPACITY);

  /** Bit mask from packet number to row; valid for any whole number below 2^53. */
  mask = FIRST_CAPACITY - 1;
  /** Lowest number that has a row. */
  lowest = 0;
  /** Number of the next packet to be sent. */
  next = 0;
  private isEmptyYet = true;

  /** Whether the table may not grow any more. */
  get isFull(): boolean {
    return this.next - this.lowest >= SENT_PACKETS_TRACKED;
  }

  /** Whether the next packet finds no free row. */
  get needsGrowth(): boolean {
    return this.next - this.lowest > this.mask;
  }

  /** Makes the row of the next packet and returns its index. The first packet may have any number. */
  append(packetNumber: number): number {
    if (this.isEmptyYet) {
      this.isEmptyYet = false;
      this.lowest = packetNumber;
      this.next = packetNumber;
    }
    assert(packetNumber === this.next, "packets are numbered one by one");
    assert(!this.isFull, "the table of sent packets has room");
    if (this.needsGrowth) this.grow();
    this.next++;
    return packetNumber & this.mask;
  }

  /** Drops all rows below `packetNumber`. */
  retireBelow(packetNumber: number): void {
    this.lowest = packetNumber;
  }

  private grow(): void {
    const oldMask = this.mask;
    const capacity = (oldMask + 1) * 2;
    const move = <T extends Int32Array | Uint8Array | Float64Array>(from: T, to: T): T => {
      // Up to where the old ring began again, and what came behind.
      for (let number = this.lowest; number < this.next;) {
        const row = number & oldMask;
        const count = Math.min(this.next - number, oldMask + 1 - row);
        to.set(from.subarray(row, row + count), number & (capacity - 1));
        number += count;
      }
      return to;
    };
    this.sizes = move(this.sizes, new Int32Array(capacity));
    this.flags = move(this.flags, new Uint8Array(capacity));
    this.sentAtUs = move(this.sentAtUs, new Float64Array(capacity));
    this.firstSentAtUs = move(this.firstSentAtUs, new Float64Array(capacity));
    this.deliveredAtUs = move(this.deliveredAtUs, new Float64Array(capacity));
    this.deliveredBytes = move(this.deliveredBytes, new Float64Array(capacity));
    this.lostBytes = move(this.lostBytes, new Float64Array(capacity));
    this.bytesInFlight = move(this.bytesInFlight, new Float64Array(capacity));
    this.mask = capacity - 1;
  }
}
