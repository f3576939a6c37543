/**
 * What an acknowledgement is the first to tell: packets that arrived, out of order or in spite of having
 * been declared lost. Source: RFC 9002 §6.1, RFC 9000 §13.1.
 */
import { GodwitError } from "../../base/errors.ts";
import { AckedRanges } from "./acked-ranges.ts";
import type { RecoveryHandler } from "./recovery-handler.ts";
import type { RecoveryParts } from "./recovery-parts.ts";
import { ACKED, LOST, MARKED, MTU_PROBE, OUTSTANDING, SILENT, SKIPPED } from "./sent-packets.ts";

/** The news of one acknowledgement at a time. */
export class NewlyAcked {
  /** Newest packet in flight that it acknowledged first, or -1. */
  newest = -1;
  /** Packets sent with ECT(0) that it acknowledged first. */
  markedPackets = 0;
  /** Packets declared lost that arrived after all, MTU probes left out, and the oldest one of them. */
  spuriousPackets = 0;
  spuriousBytes = 0;
  spuriousNumber = 0;
  spuriousSentAtUs = 0;
  private readonly parts: RecoveryParts;
  private readonly acked = new AckedRanges();

  constructor(parts: RecoveryParts) {
    this.parts = parts;
  }

  /**
   * Takes the ranges of an ACK frame: pairs `low, high`, both inclusive, highest first.
   *
   * @throws GodwitError PROTOCOL_VIOLATION when it acknowledges a number left out on purpose.
   */
  handleAck(ranges: ArrayLike<number>, rangeCount: number, nowUs: number, handler: RecoveryHandler): void {
    const { acked } = this;
    this.newest = -1;
    this.markedPackets = 0;
    this.spuriousPackets = 0;
    this.spuriousBytes = 0;
    // The fate of each packet is told once; a range that the last ACK had already is skipped.
    acked.handleAck(ranges, rangeCount, this.parts.flight.packets.lowest);
    for (let run = 0; run < acked.openCount; run++) {
      this.handleRun(acked.openLows[run], acked.openHighs[run], nowUs, handler);
    }
  }

  /** Processes packets `low`..`high`, of which the previous ACK said nothing. */
  private handleRun(low: number, high: number, nowUs: number, handler: RecoveryHandler): void {
    const { flight, delivery, statistics } = this.parts;
    const { packets, largestAcked } = flight;
    const { flags, sizes, sentAtUs, mask } = packets;
    const stop = Math.max(low, packets.lowest);
    for (let number = high; number >= stop; number--) {
      const row = number & mask;
      const flag = flags[row];
      if ((flag & ACKED) !== 0) continue;
      if ((flag & SKIPPED) !== 0) {
        throw new GodwitError(
          "PROTOCOL_VIOLATION",
          `peer acknowledged packet ${number}, which was left out on purpose`,
        );
      }
      flags[row] = flag | ACKED;
      if ((flag & MARKED) !== 0) this.markedPackets++;
      const size = sizes[row];
      statistics.packetsAcked++;
      statistics.bytesAcked += size;
      if ((flag & SILENT) !== 0) {
        handler.handlePacketAcked(number, size, sentAtUs[row]);
        continue;
      }
      delivery.deliveredBytes += size;
      const wasLost = (flag & LOST) !== 0;
      if (number < largestAcked) this.handleReordered(number, row, wasLost, nowUs);
      if (wasLost) {
        this.handleSpurious(number, row, size, handler);
        continue;
      }
      flags[row] = (flag & ~OUTSTANDING) | ACKED;
      flight.bytesInFlight -= size;
      if (number > this.newest) this.newest = number;
      handler.handlePacketAcked(number, size, sentAtUs[row]);
    }
  }

  private handleReordered(number: number, row: number, wasLost: boolean, nowUs: number): void {
    const { flight, rtt, statistics, tolerance } = this.parts;
    const distance = flight.largestAcked - number;
    statistics.packetsReordered++;
    if (distance > statistics.largestReordering) statistics.largestReordering = distance;
    const rttUs = Math.max(rtt.smoothedUs, rtt.latestUs);
    tolerance.handleLate(distance, nowUs - flight.packets.sentAtUs[row] - rttUs, rttUs, wasLost);
  }

  private handleSpurious(number: number, row: number, size: number, handler: RecoveryHandler): void {
    const { flight, delivery, statistics, events } = this.parts;
    const { packets } = flight;
    statistics.packetsSpurious++;
    statistics.bytesSpurious += size;
    if ((packets.flags[row] & MTU_PROBE) === 0) {
      delivery.lostBytes -= size;
      if (this.spuriousPackets === 0 || number < this.spuriousNumber) {
        this.spuriousNumber = number;
        this.spuriousSentAtUs = packets.sentAtUs[row];
      }
      this.spuriousPackets++;
      this.spuriousBytes += size;
    }
    if (events?.wantsPackets === true) {
      events.add({ type: "loss-was-spurious", number, sizeBytes: size });
    }
    handler.handleSpuriousLoss(number);
  }
}
