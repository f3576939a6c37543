/**
 * The default controller: a model of the path (bandwidth, round trip, random loss) in the class of
 * BBRv3 that tells random loss from congestion. Pure. Design and figures: docs/design/congestion.md.
 *
 * Sources: draft-ietf-ccwg-bbr (states, filters, gains). Departures: loss that does not depend on our
 * own rate is compensated for instead of reacted to; see the design note.
 */
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "./controller.ts";

type Phase = "startup" | "drain" | "probe-down" | "probe-cruise" | "probe-up" | "probe-rtt";

/** Windows start with this many datagrams. */
const INITIAL_WINDOW_DATAGRAMS = 32;
/** Windows never fall below. */
const MIN_WINDOW_DATAGRAMS = 4;
/** Startup: pace 4 ln 2 times what was delivered, which doubles it every round. BBR §4.1.3. */
const STARTUP_PACING_GAIN = 2.77;
/** Startup ends after this many rounds... */
const FULL_PIPE_ROUNDS = 3;
/** ...in which bandwidth did not grow by a quarter. */
const FULL_PIPE_GROWTH = 1.25;
/** Least round-trip time is believed for so long, in microseconds. */
const MIN_RTT_WINDOW_US = 10_000_000;
const PROBE_RTT_US = 200_000;

/** Makes the default controller. */
export const bbr: CongestionControllerFactory = (options) =>
  new Bbr(options.datagramBytes, options.nowUs, options.randomFloat);

class Bbr implements CongestionController {
  readonly name = "bbr";
  readonly slowStartThresholdBytes = Infinity;
  private phase: Phase = "startup";
  private datagramBytes: number;
  private readonly randomFloat: () => number;
  private cwnd: number;
  private pacingRate = Infinity;
  private pacingGain = STARTUP_PACING_GAIN;
  private cwndGain = 2;

  // Rounds.
  private roundEnd = 0;
  private roundCount = 0;
  private isRoundStart = false;

  // Bandwidth: the largest delivery rate of this cycle and the one before, in bytes per second.
  private bandwidthNow = 0;
  private bandwidthBefore = 0;
  private fullBandwidth = 0;
  private fullBandwidthRounds = 0;

  // Round trip.
  private minRttUs = Infinity;
  private minRttAtUs: number;
  private probeRttDoneAtUs = 0;

  // Loss that does not depend on our rate.
  private randomLoss = 0;
  private lowLost = 0;
  private lowTotal = 0;
  private roundDelivered = 0;
  private roundLost = 0;
  private wasSentLow = false;

  private cruiseRounds = 0;
  private phaseStartRound = 0;

  constructor(datagramBytes: number, nowUs: number, randomFloat: () => number) {
    this.datagramBytes = datagramBytes;
    this.randomFloat = randomFloat;
    this.cwnd = INITIAL_WINDOW_DATAGRAMS * datagramBytes;
    this.minRttAtUs = nowUs;
  }

  get state(): string {
    return this.phase;
  }
  get congestionWindowBytes(): number {
    return this.cwnd;
  }
  get pacingRateBytesPerSecond(): number {
    return this.pacingRate;
  }
  get bandwidthBytesPerSecond(): number {
    return Math.max(this.bandwidthNow, this.bandwidthBefore);
  }

  handleSent(_nowUs: number, _packetNumber: number, _bytes: number, _bytesInFlight: number): void {}

  handleLoss(sample: LossSample): void {
    if (sample.isPersistentCongestion) this.cwnd = MIN_WINDOW_DATAGRAMS * this.datagramBytes;
  }

  handleSpuriousLoss(_nowUs: number, _packetNumber: number, _bytes: number, _sentAtUs: number): void {}
  handleAppLimited(_nowUs: number, _bytesInFlight: number): void {}

  handleDatagramSize(bytes: number): void {
    this.datagramBytes = bytes;
    this.cwnd = Math.max(this.cwnd, MIN_WINDOW_DATAGRAMS * bytes);
  }

  handlePathChange(nowUs: number): void {
    this.phase = "startup";
    this.cwnd = INITIAL_WINDOW_DATAGRAMS * this.datagramBytes;
    this.pacingRate = Infinity;
    this.pacingGain = STARTUP_PACING_GAIN;
    this.cwndGain = 2;
    this.bandwidthNow = 0;
    this.bandwidthBefore = 0;
    this.fullBandwidth = 0;
    this.fullBandwidthRounds = 0;
    this.minRttUs = Infinity;
    this.minRttAtUs = nowUs;
  }

  handleAck(sample: AckSample): void {
    this.updateRound(sample);
    this.updateBandwidth(sample);
    this.updateMinRtt(sample);
    this.updatePhase(sample);
    this.setRates(sample);
  }

  private updateRound(sample: AckSample): void {
    this.isRoundStart = sample.largestAcked >= this.roundEnd;
    if (!this.isRoundStart) return;
    this.roundEnd = sample.nextPacketNumber;
    this.roundCount++;
    const delivered = sample.totalDeliveredBytes - this.roundDelivered;
    const lost = Math.max(0, sample.totalLostBytes - this.roundLost);
    this.roundDelivered = sample.totalDeliveredBytes;
    this.roundLost = sample.totalLostBytes;
    if (this.wasSentLow) {
      const keep = 1 / (1 + (delivered + lost) / (1_000 * this.datagramBytes));
      this.lowLost = this.lowLost * keep + lost;
      this.lowTotal = this.lowTotal * keep + delivered + lost;
      if (this.lowTotal > 50 * this.datagramBytes)
        this.randomLoss = Math.min(this.lowLost / this.lowTotal, 0.5);
    }
    this.wasSentLow = this.pacingGain < 1 || (this.phase === "startup" && this.fullBandwidthRounds === 0);
  }

  private updateBandwidth(sample: AckSample): void {
    if (!sample.hasRateSample) return;
    const rate = (sample.rateDeliveredBytes * 1e6) / sample.rateIntervalUs;
    if (rate >= this.bandwidthNow && (!sample.rateIsAppLimited || rate >= this.bandwidthBytesPerSecond)) {
      this.bandwidthNow = rate;
    }
  }

  private updateMinRtt(sample: AckSample): void {
    if (!sample.hasRttSample) return;
    if (sample.latestRttUs <= this.minRttUs * 1.02) this.minRttAtUs = sample.nowUs;
    if (sample.latestRttUs < this.minRttUs) this.minRttUs = sample.latestRttUs;
  }

  private enter(phase: Phase, pacingGain: number, cwndGain: number): void {
    this.phase = phase;
    this.pacingGain = pacingGain;
    this.cwndGain = cwndGain;
    this.phaseStartRound = this.roundCount;
  }

  private updatePhase(sample: AckSample): void {
    const { nowUs } = sample;
    const bdp = this.sendRate() * this.minRttUs * 1e-6;
    if (this.phase === "startup" && this.isRoundStart && !sample.rateIsAppLimited) {
      if (this.bandwidthBytesPerSecond >= this.fullBandwidth * FULL_PIPE_GROWTH) {
        this.fullBandwidth = this.bandwidthBytesPerSecond;
        this.fullBandwidthRounds = 0;
      } else if (++this.fullBandwidthRounds >= FULL_PIPE_ROUNDS) this.enter("drain", 0.5, 2);
    }
    switch (this.phase) {
      case "drain":
        if (sample.bytesInFlight <= bdp) this.enterDown();
        break;
      case "probe-down":
        if (this.isRoundStart && this.roundCount - this.phaseStartRound >= 2) {
          this.cruiseRounds = 4 + Math.floor(this.randomFloat() * 3);
          this.enter("probe-cruise", 1, 2);
        }
        break;
      case "probe-cruise":
        if (this.isRoundStart && this.roundCount - this.phaseStartRound >= this.cruiseRounds) {
          this.bandwidthBefore = this.bandwidthNow;
          this.bandwidthNow = 0;
          this.enter("probe-up", 1.25, 2);
        }
        break;
      case "probe-up":
        if (this.isRoundStart && this.roundCount - this.phaseStartRound >= 2) this.enterDown();
        break;
      case "probe-rtt":
        if (nowUs >= this.probeRttDoneAtUs) {
          this.minRttAtUs = nowUs;
          this.enter(this.fullBandwidthRounds >= FULL_PIPE_ROUNDS ? "probe-cruise" : "startup", 1, 2);
        }
        break;
      default:
    }
    if (
      this.phase !== "probe-rtt" &&
      this.phase !== "startup" &&
      nowUs - this.minRttAtUs > MIN_RTT_WINDOW_US
    ) {
      this.minRttUs = sample.latestRttUs;
      this.enter("probe-rtt", 0.75, 0.5);
      this.probeRttDoneAtUs = nowUs + Math.max(PROBE_RTT_US, sample.smoothedRttUs);
    }
  }

  private enterDown(): void {
    this.enter("probe-down", 0.9, 2);
  }

  /** Bytes per second to send so that the bandwidth arrives in spite of random loss. */
  private sendRate(): number {
    return this.bandwidthBytesPerSecond / (1 - this.randomLoss);
  }

  private setRates(sample: AckSample): void {
    const rate = this.sendRate();
    const floor = MIN_WINDOW_DATAGRAMS * this.datagramBytes;
    if (rate > 0 && this.minRttUs !== Infinity) {
      const target = this.cwndGain * rate * this.minRttUs * 1e-6 + 3 * this.datagramBytes;
      this.pacingRate = this.pacingGain * rate;
      if (this.phase === "startup") {
        this.pacingRate = Math.max(this.pacingRate, (this.cwnd / sample.smoothedRttUs) * 1e6);
        this.cwnd = Math.max(target, this.cwnd + sample.ackedBytes);
      } else this.cwnd = target;
    } else if (sample.hasRttSample) {
      this.pacingRate = ((STARTUP_PACING_GAIN * this.cwnd) / sample.latestRttUs) * 1e6;
      this.cwnd += sample.ackedBytes;
    }
    this.cwnd = Math.max(this.cwnd, floor);
  }
}
