/**
 * The rate at which a bottleneck spreads packets that left back to back: the first burst of a connection,
 * seen in the spacing of its acknowledgements. Pure.
 *
 * A hint of what the path carries, one round trip after the first packet. It is too high where a shaper
 * lets bursts pass, so that whoever uses it needs a bound. Source: Dovrolis, Ramanathan, Moore, "What do
 * packet dispersion techniques measure?", INFOCOM 2001.
 */
import type { AckSample } from "./controller.ts";

/** Packets of the burst: what may leave at once. RFC 9002 §7.7 with §7.2: ten datagrams. */
export const TRAIN_DATAGRAMS = 10;

/** Packets acknowledged after the first ACK that an estimate needs: one ACK of a peer that sends one for four. */
const LEAST_DATAGRAMS = 4;

/** Added to the measured time, in microseconds: ACKs wait for a timer or for a batch of a socket. */
const SLACK_US = 200;

/** Watches one burst. */
export class PacketTrain {
  /** Bytes per second, a little too low on fast paths; 0 while unknown and where the ACKs did not tell. */
  rate = 0;
  private burstAtUs = -Infinity;
  private burstCount = 0;
  private first = -1;
  private last = -1;
  private firstAckAtUs = 0;
  private deliveredAtFirst = -1;

  /** Whether the burst has left. */
  get isSent(): boolean {
    return this.last >= 0;
  }

  /** Whether the burst has left and its fate is not known yet. */
  get isOpen(): boolean {
    return this.last >= 0 && this.first >= 0;
  }

  /** Forgets it: the next burst counts. */
  reset(): void {
    this.rate = 0;
    this.burstAtUs = -Infinity;
    this.burstCount = 0;
    this.first = -1;
    this.last = -1;
    this.deliveredAtFirst = -1;
  }

  /** There will be no burst: it counts as sent, and its rate stays unknown. */
  giveUp(): void {
    this.last = Math.max(this.first, 0);
    this.first = -1;
  }

  /** A packet left. */
  handleSent(nowUs: number, packetNumber: number): void {
    if (this.isSent) return;
    if (nowUs !== this.burstAtUs) {
      this.burstAtUs = nowUs;
      this.burstCount = 0;
      this.first = packetNumber;
    }
    if (++this.burstCount === TRAIN_DATAGRAMS) this.last = packetNumber;
  }

  /** Takes an acknowledgement; returns whether the rate became known just now. */
  handleAck(sample: AckSample, datagramBytes: number): boolean {
    const { first, last } = this;
    if (last < 0 || first < 0 || sample.largestAcked < first) return false;
    if (sample.largestAcked > last) {
      this.first = -1;
      return false;
    }
    if (this.deliveredAtFirst < 0) {
      // Acknowledged in one lump: too few are left to tell anything.
      if (last - sample.largestAcked < LEAST_DATAGRAMS) {
        this.first = -1;
        return false;
      }
      this.deliveredAtFirst = sample.totalDeliveredBytes;
      this.firstAckAtUs = sample.nowUs;
      return false;
    }
    const bytes = sample.totalDeliveredBytes - this.deliveredAtFirst;
    if (bytes < LEAST_DATAGRAMS * datagramBytes) return false;
    this.rate = (bytes * 1e6) / (sample.nowUs - this.firstAckAtUs + SLACK_US);
    this.first = -1;
    return true;
  }
}
