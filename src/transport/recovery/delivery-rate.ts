/**
 * How fast a path delivers: counts of delivered and lost bytes, and a rate sample from each
 * acknowledgement. Pure. Source: draft-cheng-iccrg-delivery-rate-estimation, whose names are in comments.
 */
import type { AckSample } from "../congestion/controller.ts";
import { APP_LIMITED, type SentPackets } from "./sent-packets.ts";

/** Delivery-rate estimation of one path. */
export class DeliveryRate {
  /** Bytes acknowledged over the life of the path. C.delivered */
  deliveredBytes = 0;
  /** Bytes declared lost over the life of the path, spurious ones taken back. C.lost */
  lostBytes = 0;
  private deliveredAtUs = 0; // C.delivered_time
  private firstSentAtUs = 0; // C.first_sent_time
  private appLimitedUntil = 0; // C.app_limited

  /** A flight starts from idle: so do the intervals. The draft's send rule. */
  startFlight(nowUs: number): void {
    this.firstSentAtUs = nowUs;
    this.deliveredAtUs = nowUs;
  }

  /**
   * An ack-eliciting packet is sent: fills its row, and returns `APP_LIMITED` or 0 for its flags.
   *
   * @param priorBytesInFlight - Bytes in flight without it.
   */
  handleSent(packets: SentPackets, row: number, priorBytesInFlight: number, sizeBytes: number): number {
    // What was in flight when the application paused may have been lost since: then the pause is over sooner.
    this.appLimitedUntil = Math.min(this.appLimitedUntil, this.deliveredBytes + priorBytesInFlight);
    packets.firstSentAtUs[row] = this.firstSentAtUs;
    packets.deliveredAtUs[row] = this.deliveredAtUs;
    packets.deliveredBytes[row] = this.deliveredBytes;
    packets.lostBytes[row] = this.lostBytes;
    packets.bytesInFlight[row] = priorBytesInFlight + sizeBytes;
    return this.appLimitedUntil === 0 ? 0 : APP_LIMITED;
  }

  /** Fills the rate sample of an acknowledgement from its newest packet. */
  fillSample(sample: AckSample, packets: SentPackets, row: number, minRttUs: number, nowUs: number): void {
    const sentAtUs = packets.sentAtUs[row];
    const sendIntervalUs = sentAtUs - packets.firstSentAtUs[row];
    const ackIntervalUs = nowUs - packets.deliveredAtUs[row];
    this.firstSentAtUs = sentAtUs;
    this.deliveredAtUs = nowUs;
    // The longer interval: compressed ACKs must not look like bandwidth.
    const intervalUs = Math.max(sendIntervalUs, ackIntervalUs);
    sample.hasRateSample = intervalUs >= minRttUs && intervalUs > 0;
    sample.rateIntervalUs = intervalUs;
    sample.ratePriorDeliveredBytes = packets.deliveredBytes[row];
    sample.rateDeliveredBytes = this.deliveredBytes - packets.deliveredBytes[row];
    sample.rateBytesInFlightAtSend = packets.bytesInFlight[row];
    sample.rateIsAppLimited = (packets.flags[row] & APP_LIMITED) !== 0;
  }

  /** There is nothing to send although the window has room. */
  handleAppLimited(bytesInFlight: number): void {
    this.appLimitedUntil = Math.max(this.deliveredBytes + bytesInFlight, 1);
  }

  /** Bytes were delivered: what was sent before the application paused may all have arrived. */
  handleDelivered(): void {
    if (this.appLimitedUntil !== 0 && this.deliveredBytes > this.appLimitedUntil) this.appLimitedUntil = 0;
  }
}
