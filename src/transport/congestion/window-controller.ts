/**
 * What the window-based controllers share: slow start, one reduction per round trip, undo of a
 * reduction that a spurious loss caused, persistent congestion, pacing from the window. Pure.
 *
 * Source: RFC 9002 §7 and Appendix B.
 */
import type { AckSample, CongestionController, LossSample } from "./controller.ts";
import { CSS_GROWTH_DIVISOR, HyStart } from "./hystart.ts";

/** RFC 9002 §7.2 (kMinimumWindow): datagrams. */
const MINIMUM_WINDOW_DATAGRAMS = 2;
/** RFC 9002 §7.7: pace a little above the window per round trip, and twice as fast while it doubles. */
const PACING_GAIN = 1.25;
const SLOW_START_PACING_GAIN = 2;

/** First window in bytes: ten datagrams, about 14 720 bytes where datagrams are large. RFC 9002 §7.2. */
export function initialWindowBytes(datagramBytes: number): number {
  return Math.min(10 * datagramBytes, Math.max(2 * datagramBytes, 14_720));
}

/** A controller whose state is a congestion window. */
export abstract class WindowController implements CongestionController {
  abstract readonly name: string;
  readonly bandwidthBytesPerSecond = 0;
  protected datagramBytes: number;
  protected windowBytes: number;
  protected thresholdBytes = Infinity;
  private readonly hyStart: HyStart | undefined;
  private smoothedRttUs = 0;
  /** Packets sent until then belong to the reduction already made. RFC 9002 §7.3.2. */
  private recoveryStartUs = -Infinity;
  private isRecovering = false;
  private lostInRecoveryBytes = 0;
  private savedWindowBytes = 0;
  private savedThresholdBytes = Infinity;

  constructor(datagramBytes: number, hasHyStart: boolean) {
    this.datagramBytes = datagramBytes;
    this.windowBytes = initialWindowBytes(datagramBytes);
    this.hyStart = hasHyStart ? new HyStart() : undefined;
  }

  /** Grows the window in congestion avoidance. */
  protected abstract avoidCongestion(sample: AckSample): void;
  /** The window to go on with after a congestion event. */
  protected abstract reducedWindowBytes(): number;
  /** Called before a reduction, so that it can be undone. */
  protected abstract save(): void;
  /** Undoes the latest reduction. */
  protected abstract restore(): void;
  /** Congestion avoidance starts over: after a reduction, after persistent congestion, on a new path. */
  protected abstract restartAvoidance(isNewPath: boolean): void;

  get state(): string {
    if (this.windowBytes < this.thresholdBytes) return "slow-start";
    return this.isRecovering ? "recovery" : "congestion-avoidance";
  }

  get congestionWindowBytes(): number {
    return this.windowBytes;
  }

  get slowStartThresholdBytes(): number {
    return this.thresholdBytes;
  }

  get pacingRateBytesPerSecond(): number {
    if (this.smoothedRttUs === 0) return Infinity;
    const gain = this.windowBytes < this.thresholdBytes ? SLOW_START_PACING_GAIN : PACING_GAIN;
    return (gain * this.windowBytes * 1e6) / this.smoothedRttUs;
  }

  protected get minimumWindowBytes(): number {
    return MINIMUM_WINDOW_DATAGRAMS * this.datagramBytes;
  }

  handleSent(_nowUs: number, _packetNumber: number, _bytes: number, _bytesInFlight: number): void {}

  handleLoss(sample: LossSample): void {
    if (sample.largestLostSentAtUs > this.recoveryStartUs) {
      this.save();
      this.savedWindowBytes = this.windowBytes;
      this.savedThresholdBytes = this.thresholdBytes;
      this.lostInRecoveryBytes = 0;
      this.reduce(sample.nowUs);
    }
    this.lostInRecoveryBytes += sample.lostBytes;
    if (sample.isPersistentCongestion) {
      // RFC 9002 §7.6.2: as after a retransmission timeout, slow start from the least window.
      this.windowBytes = this.minimumWindowBytes;
      this.recoveryStartUs = -Infinity;
      this.isRecovering = false;
      this.lostInRecoveryBytes = Infinity;
      this.restartAvoidance(false);
      this.hyStart?.reset();
    }
  }

  private reduce(nowUs: number): void {
    this.recoveryStartUs = nowUs;
    this.isRecovering = true;
    this.windowBytes = Math.max(this.reducedWindowBytes(), this.minimumWindowBytes);
    this.thresholdBytes = this.windowBytes;
    this.restartAvoidance(false);
  }

  handleAck(sample: AckSample): void {
    this.smoothedRttUs = sample.smoothedRttUs;
    if (sample.ecnCePackets > 0 && sample.largestAckedSentAtUs > this.recoveryStartUs) {
      // RFC 9002 §7.3, B.7: as after a loss, once a round trip. No packet that turns up takes it back.
      this.savedWindowBytes = 0;
      this.reduce(sample.nowUs);
    }
    if (sample.ackedBytes === 0) return;
    if (sample.lostBytes === 0 && sample.largestAckedSentAtUs > this.recoveryStartUs)
      this.isRecovering = false;
    if (this.isRecovering) return;
    // RFC 9002 §7.8: a window that is not used does not grow.
    const isSlowStart = this.windowBytes < this.thresholdBytes;
    const usedBytes = isSlowStart ? 2 * sample.priorBytesInFlight : sample.priorBytesInFlight;
    if (usedBytes + 3 * this.datagramBytes < this.windowBytes) return;
    if (!isSlowStart) {
      this.avoidCongestion(sample);
      return;
    }
    const { hyStart } = this;
    if (hyStart !== undefined && this.thresholdBytes === Infinity && sample.hasRttSample) {
      if (hyStart.handleRtt(sample.latestRttUs, sample.largestAcked, sample.nextPacketNumber)) {
        this.thresholdBytes = this.windowBytes;
        this.restartAvoidance(false);
        return;
      }
    }
    const growth =
      hyStart?.isConservative === true ? sample.ackedBytes / CSS_GROWTH_DIVISOR : sample.ackedBytes;
    this.windowBytes += growth;
  }

  handleSpuriousLoss(_nowUs: number, _packetNumber: number, bytes: number, sentAtUs: number): void {
    if (sentAtUs > this.recoveryStartUs) return;
    this.lostInRecoveryBytes -= bytes;
    if (this.lostInRecoveryBytes > 0 || this.savedWindowBytes === 0) return;
    // Every loss behind the latest reduction was a mistake: take it back. As RFC 4015 §3.2 does.
    this.windowBytes = Math.max(this.windowBytes, this.savedWindowBytes);
    this.thresholdBytes = Math.max(this.thresholdBytes, this.savedThresholdBytes);
    this.savedWindowBytes = 0;
    this.isRecovering = false;
    this.restore();
  }

  handleAppLimited(_nowUs: number, _bytesInFlight: number): void {}

  handleDatagramSize(bytes: number): void {
    this.datagramBytes = bytes;
    this.windowBytes = Math.max(this.windowBytes, this.minimumWindowBytes);
  }

  handlePathChange(_nowUs: number): void {
    this.windowBytes = initialWindowBytes(this.datagramBytes);
    this.thresholdBytes = Infinity;
    this.smoothedRttUs = 0;
    this.recoveryStartUs = -Infinity;
    this.isRecovering = false;
    this.savedWindowBytes = 0;
    this.hyStart?.reset();
    this.restartAvoidance(true);
  }
}
