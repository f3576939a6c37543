/**
 * Received packet numbers: which are new (replay window), what an ACK frame reports, and when one is
 * due. Sources: RFC 9000 §12.3, §13.2; draft-ietf-quic-ack-frequency.
 */
import { ACK_RANGES_PER_FRAME, ACK_RANGES_TRACKED, REPLAY_WINDOW_PACKETS } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import { ECN } from "../wire/batch.ts";

/** Ack-eliciting packets before an ACK is due, until the peer asks for fewer ACKs. RFC 9000 §13.2.2. */
export const ACK_EVERY_PACKETS = 2;

/** Late arrivals remembered between two ACKs, so that their ranges are reported although they are old. */
const LATE_ARRIVALS = 32;

/** Newest ranges in an ACK that also reports late arrivals; the rest of its ranges are theirs. */
const NEWEST_RANGES = 32;

/** Received packets of one connection. */
export class AckTracker {
  private readonly received = new RangeSet();
  private readonly selected = new RangeSet();
  private readonly late = new Float64Array(LATE_ARRIVALS);
  private lateCount = 0;
  /** Numbers below it can no longer be told from replays and are refused. */
  private floor = 0;
  /** Numbers below it are not reported any more: the peer knows that we have them. RFC 9000 §13.2.4. */
  private reportFloor = 0;
  private largest = -1;
  private largestReceivedAtUs = 0;
  private unacknowledged = 0;
  private dueAtUs: number | undefined;
  private maxAckDelayUs: number;
  private packetThreshold = ACK_EVERY_PACKETS;
  private reorderingThreshold = 1;
  private frequencySequence = -1;
  /** ECN-marked packets received. */
  readonly ecn = { ect0: 0, ect1: 0, ce: 0 };
  /** Packets that arrived behind a later one, and the largest distance seen. */
  reorderedPackets = 0;
  reorderingDistance = 0;
  duplicatePackets = 0;

  constructor(maxAckDelayUs: number) {
    this.maxAckDelayUs = maxAckDelayUs;
  }

  /** Largest packet number received, or -1. */
  get largestReceived(): number {
    return this.largest;
  }

  /** Whether a packet number is below the replay window or was received before. */
  isDuplicate(packetNumber: number): boolean {
    return packetNumber <= this.largest && (packetNumber < this.floor || this.received.has(packetNumber));
  }

  /**
   * Counts an authentic packet that `isDuplicate` let through. `ecnCodepoint` is its datagram's.
   */
  handleReceived(packetNumber: number, isAckEliciting: boolean, ecnCodepoint: number, nowUs: number): void {
    const { received } = this;
    const previousLargest = this.largest;
    received.add(packetNumber, packetNumber + 1);
    if (packetNumber > previousLargest) {
      this.largest = packetNumber;
      this.largestReceivedAtUs = nowUs;
      this.advanceFloor();
    } else {
      this.reorderedPackets++;
      this.reorderingDistance = Math.max(this.reorderingDistance, previousLargest - packetNumber);
      if (packetNumber < this.reportFloor) this.reportFloor = packetNumber;
      if (this.lateCount < LATE_ARRIVALS) this.late[this.lateCount++] = packetNumber;
    }
    if (ecnCodepoint !== ECN.notEct) this.countEcn(ecnCodepoint, 1);
    if (!isAckEliciting) return;
    this.unacknowledged++;
    if (this.mustAcknowledgeNow(packetNumber, previousLargest, ecnCodepoint)) this.dueAtUs = nowUs;
    else this.dueAtUs = Math.min(this.dueAtUs ?? Infinity, nowUs + this.maxAckDelayUs);
  }

  /** The same as `handleReceived` for `count` ack-eliciting packets, all of one codepoint, that come next in order. */
  handleReceivedRun(count: number, ecnCodepoint: number, nowUs: number): void {
    const previousLargest = this.largest;
    this.largest += count;
    this.received.add(previousLargest + 1, this.largest + 1);
    this.largestReceivedAtUs = nowUs;
    this.advanceFloor();
    if (ecnCodepoint !== ECN.notEct) this.countEcn(ecnCodepoint, count);
    this.unacknowledged += count;
    if (this.mustAcknowledgeNow(this.largest, this.largest - 1, ecnCodepoint)) this.dueAtUs = nowUs;
    else this.dueAtUs = Math.min(this.dueAtUs ?? Infinity, nowUs + this.maxAckDelayUs);
  }

  private mustAcknowledgeNow(packetNumber: number, previousLargest: number, ecnCodepoint: number): boolean {
    if (this.unacknowledged >= this.packetThreshold || ecnCodepoint === ECN.ce) return true;
    // RFC 9000 §13.2.1: out-of-order packets and new gaps are told at once, so that the sender's
    // loss detection is not slowed down.
    if (packetNumber < previousLargest) return true;
    return this.reorderingThreshold > 0 && packetNumber - previousLargest > this.reorderingThreshold;
  }

  private countEcn(codepoint: number, count: number): void {
    if (codepoint === ECN.ce) this.ecn.ce += count;
    else if (codepoint === ECN.ect0) this.ecn.ect0 += count;
    else this.ecn.ect1 += count;
  }

  private advanceFloor(): void {
    const { received } = this;
    this.floor = Math.max(this.floor, this.largest + 1 - REPLAY_WINDOW_PACKETS);
    while (received.rangeCount > ACK_RANGES_TRACKED) {
      this.floor = Math.max(this.floor, received.endAt(0));
      received.dropLowest();
    }
    // Ranges that lie wholly below the floor are of no more use.
    while (received.rangeCount > 1 && received.endAt(0) <= this.floor) received.dropLowest();
  }

  /** The peer asks for another rhythm; older requests than the last are ignored. */
  handleAckFrequency(
    sequence: number,
    packetThreshold: number,
    maxAckDelayUs: number,
    reorderingThreshold: number,
  ): void {
    if (sequence <= this.frequencySequence) return;
    this.frequencySequence = sequence;
    this.packetThreshold = Math.max(1, packetThreshold);
    this.maxAckDelayUs = maxAckDelayUs;
    this.reorderingThreshold = reorderingThreshold;
  }

  /** An ACK shall go out with the next packet: the peer asked for it. */
  requestNow(nowUs: number): void {
    this.dueAtUs = nowUs;
  }

  /** Whether an ACK must be sent now, with a packet of its own if need be. */
  isDue(nowUs: number): boolean {
    return this.dueAtUs !== undefined && this.dueAtUs <= nowUs;
  }

  /** When an ACK becomes due, or `undefined`. */
  get dueTimeUs(): number | undefined {
    return this.dueAtUs;
  }

  /** Whether a packet that is sent anyway should carry an ACK. */
  get hasNews(): boolean {
    return this.unacknowledged > 0 || this.dueAtUs !== undefined;
  }

  /** Time since the largest packet arrived, in microseconds. RFC 9000 §13.2.5. */
  delayUs(nowUs: number): number {
    return Math.max(0, nowUs - this.largestReceivedAtUs);
  }

  /**
   * The ranges an ACK reports: the newest ones and those of late arrivals. Valid until the next call.
   * An ACK may leave ranges out: that a number is missing from it means nothing by itself.
   */
  ranges(): RangeSet {
    const { received, selected } = this;
    const isShort = received.rangeCount <= ACK_RANGES_PER_FRAME && this.reportFloor <= received.startAt(0);
    if (isShort) return received;
    selected.clear();
    const newest = received.rangeCount - 1;
    let lowest = newest;
    while (lowest > 0 && newest - lowest < ACK_RANGES_PER_FRAME - 1) {
      if (received.endAt(lowest - 1) <= this.reportFloor) break;
      lowest--;
    }
    if (newest - lowest + 1 === ACK_RANGES_PER_FRAME && this.lateCount > 0) {
      lowest = newest - NEWEST_RANGES + 1;
      this.addLate(received.startAt(lowest));
    }
    for (let i = lowest; i <= newest; i++) selected.add(received.startAt(i), received.endAt(i));
    return selected;
  }

  /** Selects the ranges around late arrivals below `below`. */
  private addLate(below: number): void {
    const { received, selected } = this;
    for (let i = 0; i < this.lateCount; i++) {
      const number = this.late[i];
      if (number >= below || !received.has(number)) continue;
      let start = number;
      // Ranges have no index by member; a late packet's neighbours are few, so walking is cheap.
      while (start > number - NEWEST_RANGES && received.has(start - 1)) start--;
      selected.add(start, Math.min(received.nextMissing(number), below));
    }
  }

  /** An ACK frame was written. Returns the largest number it reports. */
  handleAckSent(): number {
    this.unacknowledged = 0;
    this.dueAtUs = undefined;
    this.lateCount = 0;
    return this.largest;
  }

  /** The peer has an ACK whose largest number was `largestReported`: ranges wholly below need no repeating. */
  handleAckAcked(largestReported: number): void {
    if (largestReported > this.reportFloor && this.lateCount === 0) this.reportFloor = largestReported;
  }
}
