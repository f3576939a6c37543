/**
 * What each sent packet carried that must reach the peer: rows in ring-buffered typed arrays, so that
 * an acknowledgement or a loss finds its frames without an object per packet. RFC 9000 §13.3.
 */
import { assert } from "../base/assert.ts";

/** Kinds of records, with the meaning of their three numbers. */
export const SENT = {
  /** object, offset, length */
  data: 1,
  /** stream, offset, length */
  stream: 2,
  /** stream, offset, length: the last bytes of the stream */
  streamFinal: 3,
  /** stream */
  resetStream: 4,
  maxObjectData: 5,
  /** stream */
  maxStreamData: 6,
  maxStreams: 7,
  /** sequence */
  newConnectionId: 8,
  /** sequence */
  retireConnectionId: 9,
  handshakeDone: 10,
  /** largest acknowledged number in the ACK frame */
  ack: 11,
  /** packets, delay, reordering */
  ackFrequency: 12,
  /** limit */
  objectDataBlocked: 13,
  /** stream */
  stopSending: 14,
  /** time of sending in microseconds */
  ping: 15,
  /** of the path: nothing to send again */
  probe: 16,
  /** object, offset, length: sent before */
  dataAgain: 17,
} as const;

/** Receives the records of a packet. */
export interface SentFrameHandler {
  handleFrameAcked(kind: number, a: number, b: number, c: number): void;
  handleFrameLost(kind: number, a: number, b: number, c: number): void;
}

const STATE = { none: 0, outstanding: 1, lost: 2, acked: 3 } as const;

const INITIAL_PACKETS = 1_024;
const INITIAL_RECORDS = 2_048;

/** Records of the packets from the oldest that still matters to the newest. */
export class SentFrames {
  // Packets: ring indexed by packet number. Firsts count records since the beginning.
  private firsts = new Float64Array(INITIAL_PACKETS);
  private counts = new Uint16Array(INITIAL_PACKETS);
  private states = new Uint8Array(INITIAL_PACKETS);
  private lowest = 0;
  private next = 0;
  // Records: ring indexed by a running count.
  private kinds = new Uint8Array(INITIAL_RECORDS);
  private a = new Float64Array(INITIAL_RECORDS);
  private b = new Float64Array(INITIAL_RECORDS);
  private c = new Float64Array(INITIAL_RECORDS);
  private recordEnd = 0;
  private open = -1;
  private outstanding = 0;
  /** Packet that `repeatOldest` reported last. */
  private repeated = -1;

  /** Packets with records that are neither acknowledged nor lost. */
  get outstandingCount(): number {
    return this.outstanding;
  }

  /** Packets whose records are held, settled ones that wait to be overwritten included. */
  get trackedCount(): number {
    return this.next - this.lowest;
  }

  /** Begins the records of `packetNumber`, which must be above all earlier ones, or begun and without records. */
  begin(packetNumber: number): void {
    if (packetNumber === this.open && this.counts[packetNumber & (this.states.length - 1)] === 0) return;
    assert(packetNumber >= this.next, "packet numbers must grow");
    if (this.lowest === this.next) this.lowest = packetNumber;
    const needed = packetNumber - this.lowest + 1;
    if (needed > this.states.length) this.makeRoomForPackets(packetNumber);
    const mask = this.states.length - 1;
    for (let number = Math.max(this.next, this.lowest); number <= packetNumber; number++) {
      this.states[number & mask] = STATE.none;
      this.counts[number & mask] = 0;
      this.firsts[number & mask] = this.recordEnd;
    }
    this.next = packetNumber + 1;
    this.open = packetNumber;
  }

  /** Adds a record to the packet begun last. */
  add(kind: number, a: number, b: number, c: number): void {
    assert(this.open >= 0, "no packet was begun");
    const mask = this.states.length - 1;
    if (this.recordEnd - this.firsts[this.lowest & mask] >= this.kinds.length) this.makeRoomForRecords();
    const slot = this.open & mask;
    const at = this.recordEnd++ & (this.kinds.length - 1);
    this.kinds[at] = kind;
    this.a[at] = a;
    this.b[at] = b;
    this.c[at] = c;
    this.counts[slot]++;
    if (this.states[slot] === STATE.none) {
      this.states[slot] = STATE.outstanding;
      this.outstanding++;
    }
  }

  /** Reports the records of an acknowledged packet; also of one that was thought lost. */
  acked(packetNumber: number, handler: SentFrameHandler): void {
    if (packetNumber < this.lowest || packetNumber >= this.next) return;
    const slot = packetNumber & (this.states.length - 1);
    const state = this.states[slot];
    if (state === STATE.none || state === STATE.acked) return;
    if (state === STATE.outstanding) this.outstanding--;
    this.states[slot] = STATE.acked;
    const recordMask = this.kinds.length - 1;
    const first = this.firsts[slot];
    for (let i = 0; i < this.counts[slot]; i++) {
      const at = (first + i) & recordMask;
      handler.handleFrameAcked(this.kinds[at], this.a[at], this.b[at], this.c[at]);
    }
    this.dropSettled(packetNumber);
  }

  /** Reports the records of a lost packet. They are kept for a late acknowledgement while there is room. */
  lost(packetNumber: number, handler: SentFrameHandler): void {
    if (packetNumber < this.lowest || packetNumber >= this.next) return;
    const slot = packetNumber & (this.states.length - 1);
    if (this.states[slot] !== STATE.outstanding) return;
    this.states[slot] = STATE.lost;
    this.outstanding--;
    this.reportLost(slot, handler);
  }

  /**
   * Reports the records of the oldest outstanding packet as lost although nothing says so: a probe
   * shall carry them again. The packet stays outstanding; the next call takes the one behind it,
   * and so on around. Returns false if there is none.
   */
  repeatOldest(handler: SentFrameHandler): boolean {
    if (this.outstanding === 0) return false;
    const mask = this.states.length - 1;
    let number = this.repeated < this.lowest || this.repeated >= this.next ? this.lowest : this.repeated + 1;
    for (let looked = this.next - this.lowest; looked >= 0; looked--, number++) {
      if (number >= this.next) number = this.lowest;
      if (this.states[number & mask] !== STATE.outstanding) continue;
      this.repeated = number;
      this.reportLost(number & mask, handler);
      return true;
    }
    return false;
  }

  /**
   * The first outstanding packet from `number` on that carries something somebody waits for: a piece of a
   * stream, file data sent again, or, if `withNewData`, any file data. -1 if there is none.
   */
  nextAwaited(number: number, withNewData: boolean): number {
    if (this.outstanding === 0) return -1;
    const mask = this.states.length - 1;
    const recordMask = this.kinds.length - 1;
    for (let at = Math.max(number, this.lowest); at < this.next; at++) {
      const slot = at & mask;
      if (this.states[slot] !== STATE.outstanding) continue;
      for (let i = 0; i < this.counts[slot]; i++) {
        const kind = this.kinds[(this.firsts[slot] + i) & recordMask];
        const isAwaited = kind === SENT.stream || kind === SENT.streamFinal || kind === SENT.dataAgain;
        if (isAwaited || (withNewData && kind === SENT.data)) return at;
      }
    }
    return -1;
  }

  /** Reports the records of an outstanding packet as lost although nothing says so; it stays outstanding. */
  repeat(number: number, handler: SentFrameHandler): void {
    if (number < this.lowest || number >= this.next) return;
    const slot = number & (this.states.length - 1);
    if (this.states[slot] === STATE.outstanding) this.reportLost(slot, handler);
  }

  private reportLost(slot: number, handler: SentFrameHandler): void {
    const recordMask = this.kinds.length - 1;
    const first = this.firsts[slot];
    for (let i = 0; i < this.counts[slot]; i++) {
      const at = (first + i) & recordMask;
      handler.handleFrameLost(this.kinds[at], this.a[at], this.b[at], this.c[at]);
    }
  }

  /** Moves `lowest` over acknowledged packets; lost ones stay until room is needed. */
  private dropSettled(packetNumber: number): void {
    if (packetNumber !== this.lowest) return;
    const mask = this.states.length - 1;
    while (this.lowest < this.next) {
      const state = this.states[this.lowest & mask];
      if (state === STATE.outstanding || state === STATE.lost) break;
      this.lowest++;
    }
  }

  /** Forgets settled packets at the old end, lost ones too, or grows the ring of packets. */
  private makeRoomForPackets(packetNumber: number): void {
    this.forgetSettled();
    if (this.lowest === this.next) {
      this.lowest = packetNumber;
      this.next = packetNumber;
    }
    const needed = packetNumber - this.lowest + 1;
    let capacity = this.states.length;
    // Room for as many again, so that lost packets are remembered for a while.
    while (capacity < needed * 2) capacity *= 2;
    if (capacity === this.states.length) return;
    const { firsts, counts, states } = this;
    const oldMask = states.length - 1;
    const mask = capacity - 1;
    this.firsts = new Float64Array(capacity);
    this.counts = new Uint16Array(capacity);
    this.states = new Uint8Array(capacity);
    for (let number = this.lowest; number < this.next; number++) {
      this.firsts[number & mask] = firsts[number & oldMask];
      this.counts[number & mask] = counts[number & oldMask];
      this.states[number & mask] = states[number & oldMask];
    }
  }

  private makeRoomForRecords(): void {
    this.forgetSettled();
    const first = this.firsts[this.lowest & (this.states.length - 1)];
    const needed = this.recordEnd - first + 1;
    let capacity = this.kinds.length;
    while (capacity < needed * 2) capacity *= 2;
    if (capacity === this.kinds.length) return;
    const { kinds, a, b, c } = this;
    const oldMask = kinds.length - 1;
    const mask = capacity - 1;
    this.kinds = new Uint8Array(capacity);
    this.a = new Float64Array(capacity);
    this.b = new Float64Array(capacity);
    this.c = new Float64Array(capacity);
    for (let record = first; record < this.recordEnd; record++) {
      this.kinds[record & mask] = kinds[record & oldMask];
      this.a[record & mask] = a[record & oldMask];
      this.b[record & mask] = b[record & oldMask];
      this.c[record & mask] = c[record & oldMask];
    }
  }

  /** Drops everything that is not outstanding from the old end, but never the packet being written. */
  private forgetSettled(): void {
    const mask = this.states.length - 1;
    while (this.lowest < this.next && this.lowest !== this.open) {
      if (this.states[this.lowest & mask] === STATE.outstanding) break;
      this.lowest++;
    }
  }
}
