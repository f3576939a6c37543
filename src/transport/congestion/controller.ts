/**
 * What the connection tells a congestion controller, and what it asks of it. One conformance suite
 * (test/conformance/congestion.suite.ts) runs on every controller.
 *
 * Terms and field meanings follow RFC 9002 §7 and draft-cheng-iccrg-delivery-rate-estimation.
 */

/** The facts of one acknowledgement. One object per connection, overwritten each time: do not keep it. */
export interface AckSample {
  /** When the ACK arrived, in microseconds. */
  nowUs: number;
  /** Bytes newly acknowledged by this ACK that were in flight. */
  ackedBytes: number;
  /** Bytes declared lost while processing this ACK. */
  lostBytes: number;
  /** Bytes in flight before and after this ACK was processed. */
  priorBytesInFlight: number;
  bytesInFlight: number;
  /** Whether the ACK gave an RTT sample (its largest packet was newly acknowledged and ack-eliciting). */
  hasRttSample: boolean;
  /** Latest RTT sample without the peer's delay, in microseconds; valid with `hasRttSample`. */
  latestRttUs: number;
  smoothedRttUs: number;
  rttVariationUs: number;
  minRttUs: number;
  /** Bytes acknowledged over the life of the connection. */
  totalDeliveredBytes: number;
  /** Bytes declared lost over the life of the connection (spurious ones taken back). */
  totalLostBytes: number;
  /** Delivery-rate sample: whether one exists, its bytes and the longer of send and ACK interval. */
  hasRateSample: boolean;
  rateDeliveredBytes: number;
  rateIntervalUs: number;
  /** `totalDeliveredBytes` when the sampled packet was sent. */
  ratePriorDeliveredBytes: number;
  /** Bytes lost between the sending of the sampled packet and now. */
  rateLostBytes: number;
  /** Bytes in flight just after the sampled packet was sent. */
  rateBytesInFlightAtSend: number;
  /** Whether the sampled packet was sent while the application, not the network, was the limit. */
  rateIsAppLimited: boolean;
  /** Largest acknowledged packet number so far, and the next one to be sent. */
  largestAcked: number;
  nextPacketNumber: number;
  /** When the largest packet newly acknowledged by this ACK was sent, in microseconds. */
  largestAckedSentAtUs: number;
  /** Packets newly reported with ECN-CE by this ACK. */
  ecnCePackets: number;
}

/** The facts of a loss: one call per detection, however many packets. Overwritten each time. */
export interface LossSample {
  nowUs: number;
  lostBytes: number;
  lostPackets: number;
  /** Bytes in flight after the lost ones were taken out. */
  bytesInFlight: number;
  /** Packet number and sending time of the latest packet declared lost. */
  largestLost: number;
  largestLostSentAtUs: number;
  /** Sending time of the earliest packet declared lost in this detection. */
  earliestLostSentAtUs: number;
  /** Bytes in flight just after the latest lost packet was sent, and delivered total at that time. */
  bytesInFlightAtSend: number;
  deliveredBytesAtSend: number;
  /** Next packet number to be sent: the end of this round's recovery. */
  nextPacketNumber: number;
  smoothedRttUs: number;
  minRttUs: number;
  /** RFC 9002 §7.6: all packets over a long time were lost. */
  isPersistentCongestion: boolean;
}

/** Decides how much may be in flight and how fast it is sent. Pure: time comes with each call. */
export interface CongestionController {
  /** `bbr`, `cubic`, `newreno`, `polite`: as the user names it. */
  readonly name: string;
  /** State for people and qlog: `startup`, `drain`, `probe-bandwidth`, `recovery`... */
  readonly state: string;
  /** Most bytes that may be in flight. Never below two datagrams. */
  readonly congestionWindowBytes: number;
  /** Pacing rate in bytes per second; `Infinity` where it is not known yet. */
  readonly pacingRateBytesPerSecond: number;
  /** Estimated bottleneck bandwidth in bytes per second, or 0 when the controller has none. */
  readonly bandwidthBytesPerSecond: number;
  /** Slow start threshold in bytes, `Infinity` before the first reduction or where there is none. */
  readonly slowStartThresholdBytes: number;
  /** An in-flight packet was sent. `bytesInFlight` includes it. */
  handleSent(nowUs: number, packetNumber: number, bytes: number, bytesInFlight: number): void;
  /** Losses found while processing an ACK are reported before the ACK itself. */
  handleLoss(sample: LossSample): void;
  handleAck(sample: AckSample): void;
  /** Packets declared lost turned out to have arrived: `bytes` of them, the oldest sent at `sentAtUs`. */
  handleSpuriousLoss(nowUs: number, packetNumber: number, bytes: number, sentAtUs: number): void;
  /** The sender ran out of data to send while the window had room. */
  handleAppLimited(nowUs: number, bytesInFlight: number): void;
  /** The path's datagram size changed. */
  handleDatagramSize(bytes: number): void;
  /** The connection moved to another path: what was learnt about the old one no longer holds. RFC 9000 §9.4. */
  handlePathChange(nowUs: number): void;
}

/** Makes a controller for a new path. `randomFloat` gives numbers in [0, 1) for probing jitter. */
export type CongestionControllerFactory = (options: {
  readonly datagramBytes: number;
  readonly nowUs: number;
  readonly randomFloat: () => number;
}) => CongestionController;
