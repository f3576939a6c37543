/**
 * How fast startup opens the window: the first flight, the jump that its first burst suggests, and growth
 * from there on. When the pipe is full: startup.ts. Pure. Source: draft-ietf-ccwg-bbr §5.3.1.
 */
import type { AckSample } from "./controller.ts";
import { PacketTrain, TRAIN_DATAGRAMS } from "./packet-train.ts";
import type { PathMeter } from "./path-meter.ts";
import type { SendingLimits } from "./sending-limits.ts";
import type { Startup } from "./startup.ts";

/** First window in datagrams: two rounds of slow start less than ten, and what paths take without harm. */
export const INITIAL_WINDOW_DATAGRAMS = 32;
/** Least time that the part of the first flight is spread over that does not leave at once, in microseconds. */
const FIRST_FLIGHT_US = 10_000;
/**
 * What the first burst says of the path is believed this far, and in one round the window grows to no more
 * than so many first ones: a shaper lets a burst pass faster than what follows.
 */
const JUMP_SHARE = 0.75;
const JUMP_MAX = 24;
/**
 * Bursts tried while one tells nothing: a receiver that is busy with what it was asked for acknowledges all of
 * it in one lump, and that makes room for another burst at once.
 */
const BURSTS = 3;
/** Growth from there on. */
const GROWTH_AFTER_JUMP = 0.5;

/** Pace 4 ln 2 times what was delivered, which doubles it every round. BBR §5.3.1. */
export const STARTUP_PACING_GAIN = 2.77;
/** Bytes the window grows by for each one acknowledged, while no queue shows. Slow start has 1. */
const STARTUP_GROWTH = 1.5;
/** Most window in round trips of what was delivered: what such growth needs, since that lags a round behind. */
const STARTUP_WINDOW = 2.75;
/** With a queue: a little faster than what arrives, until that stops growing. */
const STARTUP_CAREFUL_GAIN = 1.25;

/** The window and the pacing rate of one startup. */
export class StartupWindow {
  private readonly limits: SendingLimits;
  private readonly meter: PathMeter;
  private readonly startup: Startup;
  private readonly train = new PacketTrain();
  /** Window that the first burst suggested, and the first packet sent after. */
  private jumpBytes = 0;
  private jumpEnd = 0;
  private bursts = 1;
  /** Round in which the window was full last. */
  private fullWindowRound = -2;

  constructor(limits: SendingLimits, meter: PathMeter, startup: Startup) {
    this.limits = limits;
    this.meter = meter;
    this.startup = startup;
  }

  /** Starts over. */
  reset(): void {
    this.train.reset();
    this.jumpBytes = 0;
    this.jumpEnd = 0;
    this.bursts = 1;
    this.fullWindowRound = -2;
  }

  /** A packet was sent; `bytesInFlight` includes it. */
  handleSent(nowUs: number, packetNumber: number, bytes: number, bytesInFlight: number): void {
    const { limits, meter, train } = this;
    const isFull = bytesInFlight + bytes > limits.windowBytes;
    if (isFull) this.fullWindowRound = meter.roundCount;
    if (train.isSent) return;
    train.handleSent(nowUs, packetNumber);
    if (train.isSent) this.spreadFirstFlight();
    // A window without room for the burst: who waits for one would keep it from growing.
    else if (isFull) train.giveUp();
  }

  /** Paces what follows the first burst until its fate is known. */
  private spreadFirstFlight(): void {
    const { limits, meter } = this;
    const { minRttUs } = meter;
    const spanUs = minRttUs === Infinity ? FIRST_FLIGHT_US : Math.max(minRttUs, FIRST_FLIGHT_US);
    limits.pacingRate = (limits.windowBytes * 1e6) / spanUs;
  }

  /** Takes an acknowledgement: jumps when the first burst has told how fast it was carried. */
  handleAck(sample: AckSample): void {
    const { limits, meter } = this;
    const wasOpen = this.train.isOpen;
    if (!this.train.handleAck(sample, meter.datagramBytes)) {
      const hasFailed = wasOpen && !this.train.isOpen;
      const roomBytes = limits.windowBytes - sample.bytesInFlight;
      if (hasFailed && this.bursts < BURSTS && roomBytes >= TRAIN_DATAGRAMS * meter.datagramBytes) {
        this.bursts++;
        this.train.reset();
      }
      return;
    }
    const mostBytes = JUMP_MAX * INITIAL_WINDOW_DATAGRAMS * meter.datagramBytes;
    const bytes = Math.min(this.believedBytes(), mostBytes);
    if (bytes <= limits.windowBytes) return;
    limits.windowBytes = bytes;
    this.jumpBytes = bytes;
    this.jumpEnd = sample.nextPacketNumber;
  }

  /** Bytes in flight that the first burst suggests. */
  private believedBytes(): number {
    return (JUMP_SHARE * this.train.rate * this.meter.minRttUs) / 1e6;
  }

  /** Sets the limits while no delivery rate is known. */
  setFirstRates(sample: AckSample): void {
    const { limits, train } = this;
    if (this.jumpBytes === 0) limits.windowBytes += sample.ackedBytes;
    if (!train.isSent) limits.pacingRate = Infinity;
    else if (train.isOpen) this.spreadFirstFlight();
    else if (sample.largestAcked < this.jumpEnd)
      limits.pacingRate = (limits.windowBytes * 1e6) / sample.smoothedRttUs;
    else if (sample.hasRttSample)
      limits.pacingRate = (STARTUP_PACING_GAIN * limits.windowBytes * 1e6) / sample.latestRttUs;
  }

  /**
   * Sets the limits from the rate that makes what the path delivered arrive, in bytes per second.
   *
   * @param carefulBytes - Window once a queue shows.
   */
  setRates(sample: AckSample, rate: number, carefulBytes: number): void {
    const { limits, meter, train } = this;
    if (this.startup.hasQueue) {
      limits.pacingRate = STARTUP_CAREFUL_GAIN * rate;
      limits.windowBytes = carefulBytes;
      return;
    }
    // The first burst leaves at once, and what follows waits for what it tells.
    if (!train.isSent) {
      limits.pacingRate = Infinity;
      return;
    }
    if (train.isOpen) {
      this.spreadFirstFlight();
      return;
    }
    // Believed so far, one round at this rate; then the path itself tells more.
    if (sample.largestAcked < this.jumpEnd) {
      limits.pacingRate = (limits.windowBytes * 1e6) / meter.minRttUs;
      return;
    }
    // As slow start: a sample of the rate lags behind a window that doubles.
    // The first flight after a pause is marked as limited by the application, even if it fills the window.
    const isUsed = !sample.rateIsAppLimited || meter.roundCount - this.fullWindowRound <= 1;
    const isThere = train.rate > 0 && limits.windowBytes >= this.believedBytes();
    const growth = isThere ? GROWTH_AFTER_JUMP : STARTUP_GROWTH;
    if (isUsed) limits.windowBytes += growth * sample.ackedBytes;
    // Signs of a full pipe come a round trip late: until then no more than growth at this speed needs.
    const mostBytes =
      (STARTUP_WINDOW * rate * meter.minRttUs) / 1e6 + INITIAL_WINDOW_DATAGRAMS * meter.datagramBytes;
    limits.windowBytes = Math.min(limits.windowBytes, Math.max(mostBytes, STARTUP_WINDOW * this.jumpBytes));
    const perRound = ((1 + growth) * limits.windowBytes * 1e6) / sample.smoothedRttUs;
    limits.pacingRate = Math.max((isThere ? STARTUP_CAREFUL_GAIN : STARTUP_PACING_GAIN) * rate, perRound);
  }
}
