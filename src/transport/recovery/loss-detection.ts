/**
 * Which packets in flight are lost, and when to look again: overtaken by later ones, by number or by age.
 * Source: RFC 9002 §6.1; how much is tolerated: reordering.ts.
 */
import type { RecoveryHandler } from "./recovery-handler.ts";
import type { RecoveryParts } from "./recovery-parts.ts";
import { GRANULARITY_US } from "./rtt.ts";
import { emptyLossSample } from "./samples.ts";
import { ACKED, LOST, MARKED, MTU_PROBE, OUTSTANDING, SILENT } from "./sent-packets.ts";

/** Loss detection of one path. */
export class LossDetection {
  /** When the earliest overtaken packet is lost by age, or `undefined`. RFC 9002 §6.1.2. */
  timeUs: number | undefined = undefined;
  /** The facts of the latest loss, for the controller. */
  readonly sample = emptyLossSample();
  private readonly parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.parts = parts;
  }

  /**
   * Declares packets lost and sets the time to look again. Returns whether `sample` tells of a new loss;
   * a lost MTU probe is none.
   */
  detect(nowUs: number, handler: RecoveryHandler): boolean {
    const { sample } = this;
    const { flight, rtt, tolerance, delivery, persistence, probe, ecn, statistics, events } = this.parts;
    const { packets } = flight;
    const { flags, sentAtUs, sizes, mask } = packets;
    const rttUs = Math.max(rtt.smoothedUs, rtt.latestUs);
    const delayUs = Math.max(rttUs + tolerance.windowUs(rttUs), GRANULARITY_US);
    const lostByNumber = flight.largestAcked - tolerance.packetThreshold;
    const wantsPackets = events?.wantsPackets === true;
    sample.lostPackets = 0;
    sample.lostBytes = 0;
    this.timeUs = undefined;
    // Send times ascend with numbers: the first packet that is not lost ends the search.
    for (; flight.lowestOutstanding < packets.next; flight.lowestOutstanding++) {
      const number = flight.lowestOutstanding;
      const row = number & mask;
      const flag = flags[row];
      if ((flag & OUTSTANDING) === 0) {
        if ((flag & ACKED) !== 0 && (flag & SILENT) === 0) persistence.endRun();
        continue;
      }
      if (number >= flight.largestAcked) break;
      // The same sum as in the timer, so that rounding cannot make the timer early for ever.
      if (number > lostByNumber && sentAtUs[row] + delayUs > nowUs) {
        this.timeUs = sentAtUs[row] + delayUs;
        break;
      }
      const size = sizes[row];
      const isMtuProbe = (flag & MTU_PROBE) !== 0;
      flags[row] = (flag & ~OUTSTANDING) | LOST;
      flight.bytesInFlight -= size;
      if ((flag & MARKED) !== 0) ecn.handleLost();
      statistics.packetsLost++;
      statistics.bytesLost += size;
      if (!isMtuProbe) {
        delivery.lostBytes += size;
        persistence.handleLost(sentAtUs[row], rtt.firstSampleAtUs, probe.timeoutUs);
        if (sample.lostPackets === 0) sample.earliestLostSentAtUs = sentAtUs[row];
        sample.lostPackets++;
        sample.lostBytes += size;
        sample.largestLost = number;
        sample.largestLostSentAtUs = sentAtUs[row];
        sample.bytesInFlightAtSend = packets.bytesInFlight[row];
        sample.deliveredBytesAtSend = packets.deliveredBytes[row];
      }
      if (wantsPackets) {
        const trigger = number <= lostByNumber ? "packets" : "time";
        events?.add({ type: "packet-lost", number, sizeBytes: size, trigger });
      }
      handler.handlePacketLost(number, size, isMtuProbe);
    }
    if (sample.lostPackets === 0) return false;
    sample.nowUs = nowUs;
    sample.bytesInFlight = flight.bytesInFlight;
    sample.nextPacketNumber = packets.next;
    sample.smoothedRttUs = rtt.smoothedUs;
    sample.minRttUs = rtt.minUs;
    sample.isPersistentCongestion = persistence.take();
    if (sample.isPersistentCongestion) {
      statistics.persistentCongestions++;
      events?.add({ type: "persistent-congestion" });
    }
    return true;
  }
}
