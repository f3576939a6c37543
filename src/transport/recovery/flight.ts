/**
 * The packets in flight, and how long the rows of those that are not any more are kept: lost ones may
 * arrive after all, and a full table forgets its oldest. Pure.
 */
import { ACKED, LOST, MTU_PROBE, OUTSTANDING, SentPackets, SILENT, SKIPPED } from "./sent-packets.ts";
import type { PersistentCongestion } from "./persistent-congestion.ts";
import type { RecoveryHandler } from "./recovery-handler.ts";
import type { RttEstimator } from "./rtt.ts";

/** Round-trip times that the row of a lost packet is kept to recognise a late acknowledgement. */
const LOST_ROW_ROUNDS = 4;

/** At least this long, in microseconds: jitter does not shrink with a short round trip. */
const LOST_ROW_MIN_US = 200_000;

/** Rows of packets without ack-eliciting content kept in case the peer names them. */
const SILENT_ROWS = 1_024;

/** The packets of one path that were sent. */
export class Flight {
  readonly packets = new SentPackets();
  /** Bytes of ack-eliciting packets sent and neither acknowledged nor declared lost. */
  bytesInFlight = 0;
  /** Lowest packet whose fate is open; equals `packets.next` when there is none. */
  lowestOutstanding = 0;
  /** Largest packet number acknowledged, or -1. */
  largestAcked = -1;
  private readonly rtt: RttEstimator;
  private readonly persistence: PersistentCongestion;
  /** Triples of number, size and probe flag of packets that fell out of a full table. */
  private readonly forgotten: number[] = [];

  constructor(rtt: RttEstimator, persistence: PersistentCongestion) {
    this.rtt = rtt;
    this.persistence = persistence;
  }

  /** Makes the row of the next packet and returns its index; drops rows when the table would grow. */
  append(packetNumber: number, nowUs: number): number {
    if (this.packets.needsGrowth) this.makeRoom(nowUs);
    return this.appendRow(packetNumber);
  }

  /** A packet number is left out on purpose. */
  appendSkipped(packetNumber: number): void {
    const { packets } = this;
    if (packets.isFull) this.forgetLowest();
    packets.flags[this.appendRow(packetNumber)] = SKIPPED;
  }

  private appendRow(packetNumber: number): number {
    const { packets } = this;
    const wasNext = packets.next;
    const row = packets.append(packetNumber);
    if (this.lowestOutstanding === wasNext && wasNext !== packetNumber) this.lowestOutstanding = packetNumber;
    return row;
  }

  /** Drops rows that nobody asks for any more. */
  retire(nowUs: number): void {
    const { packets } = this;
    const { flags, sentAtUs, mask } = packets;
    const rttUs = Math.max(this.rtt.smoothedUs, this.rtt.latestUs);
    const keepLostSinceUs = nowUs - Math.max(LOST_ROW_ROUNDS * rttUs, LOST_ROW_MIN_US) - rttUs;
    let lowest = packets.lowest;
    const end = Math.min(this.lowestOutstanding, Math.max(this.largestAcked + 1, packets.next - SILENT_ROWS));
    while (lowest < end) {
      const row = lowest & mask;
      if ((flags[row] & (LOST | ACKED)) === LOST && sentAtUs[row] > keepLostSinceUs) break;
      lowest++;
    }
    packets.retireBelow(lowest);
  }

  /** Before the table grows: drops what can be dropped, and at its bound the oldest packet, come what may. */
  private makeRoom(nowUs: number): void {
    const { packets } = this;
    while (this.lowestOutstanding < packets.next) {
      const flag = packets.flags[this.lowestOutstanding & packets.mask];
      if ((flag & OUTSTANDING) !== 0) break;
      if ((flag & ACKED) !== 0 && (flag & SILENT) === 0) this.persistence.endRun();
      this.lowestOutstanding++;
    }
    this.retire(nowUs);
    if (packets.isFull) this.forgetLowest();
  }

  /** Forgets the oldest packet of a full table; it counts as lost, and the handler hears of it next time. */
  private forgetLowest(): void {
    const { packets } = this;
    const number = packets.lowest;
    const row = number & packets.mask;
    const flag = packets.flags[row];
    if ((flag & OUTSTANDING) !== 0) {
      this.bytesInFlight -= packets.sizes[row];
      this.forgotten.push(number, packets.sizes[row], flag & MTU_PROBE);
    }
    packets.retireBelow(number + 1);
    this.lowestOutstanding = Math.max(this.lowestOutstanding, packets.lowest);
  }

  /** Whether `reportForgotten` has anything to tell. */
  get hasForgotten(): boolean {
    return this.forgotten.length > 0;
  }

  /** Tells of packets that fell out of a full table. */
  reportForgotten(handler: RecoveryHandler): void {
    const { forgotten } = this;
    if (forgotten.length === 0) return;
    for (let index = 0; index < forgotten.length; index += 3) {
      handler.handlePacketLost(forgotten[index], forgotten[index + 1], forgotten[index + 2] !== 0);
    }
    forgotten.length = 0;
  }
}
