/**
 * Explicit congestion notification on one path: which packets carry ECT(0), whether what the peer
 * counts can be believed, and how many more packets came with CE. Pure.
 *
 * Source: RFC 9000 §13.4 and A.4. A path that erases or alters marks, or drops marked packets, is sent
 * unmarked packets from then on; loss goes on telling about congestion.
 */
import { ECN } from "../../wire/batch.ts";
import type { EcnCounts } from "../../wire/frames.ts";

/** Packets marked to find out what the path does to them. RFC 9000 A.4. */
const TEST_PACKETS = 10;

/**
 * Round trips in a row in which every marked packet came with CE, after which that says nothing about
 * congestion: a sender that reduces each time is down to a hundredth of its rate by then.
 */
const ALL_CE_ROUNDS = 12;

/** Probe timeouts in a row after which marked packets may be what the path drops. As RFC 9000 A.4's three. */
const SILENT_TIMEOUTS = 3;

const NO_COUNTS: EcnCounts = { ect0: 0, ect1: 0, ce: 0 };

/** `testing`: the first packets are marked; `unknown`: their fate is waited for. RFC 9000 A.4. */
export type EcnState = "testing" | "unknown" | "capable" | "failed";

/** ECN of one path. */
export class EcnValidation {
  private current: EcnState = "testing";
  private sent = 0;
  private lost = 0;
  private acked = 0;
  private ceOnPath = 0;
  /** Counts of the last ACK that raised the largest acknowledged number: of all paths together. */
  private ect0 = 0;
  private ce = 0;
  private roundAcked = 0;
  private roundCe = 0;
  private allCeRounds = 0;

  /** How far validation is. */
  get state(): EcnState {
    return this.current;
  }

  /** Codepoint of the next ack-eliciting packet: a value of ECN. A socket that cannot mark leaves it out. */
  get codepoint(): number {
    return this.current === "testing" || this.current === "capable" ? ECN.ect0 : ECN.notEct;
  }

  /** A packet with ECT(0) was sent. */
  handleSent(): void {
    this.sent++;
    if (this.current === "testing" && this.sent >= TEST_PACKETS) this.current = "unknown";
  }

  /** A packet sent with ECT(0) was lost. */
  handleLost(): void {
    this.lost++;
    if (this.current === "unknown" && this.acked === 0 && this.lost >= this.sent) this.current = "failed";
  }

  /** A probe timeout fired, the `count`-th in a row. */
  handleProbeTimeout(count: number): void {
    if (count >= SILENT_TIMEOUTS && this.codepoint !== ECN.notEct) this.current = "failed";
  }

  /**
   * An ACK arrived. Returns how many packets it newly reports with CE; 0 while that cannot be believed.
   *
   * @param ackedMarked - Packets sent with ECT(0) that it is the first to acknowledge.
   * @param isNewest - Whether it raised the largest acknowledged number: others may be out of order.
   * @param counts - What the peer has counted; `undefined` for an ACK without counts.
   */
  handleAck(ackedMarked: number, isNewest: boolean, counts: EcnCounts | undefined): number {
    this.acked += ackedMarked;
    if (!isNewest) return 0;
    const { ect0, ect1, ce } = counts ?? NO_COUNTS;
    const ect0Gain = ect0 - this.ect0;
    const ceGain = ce - this.ce;
    this.ect0 = ect0;
    this.ce = ce;
    if (this.current === "failed") return 0;
    // RFC 9000 §13.4.2.1; nobody here sends ECT(1), so that any of it was altered on the way.
    if (ect0Gain < 0 || ceGain < 0 || ect1 > 0 || ect0Gain + ceGain < ackedMarked) {
      this.current = "failed";
      return 0;
    }
    this.ceOnPath += ceGain;
    this.roundAcked += ackedMarked;
    this.roundCe += ceGain;
    if (this.current !== "capable") this.judgeTest();
    return this.current === "capable" ? ceGain : 0;
  }

  private judgeTest(): void {
    if (this.acked === 0) return;
    if (this.ceOnPath < this.acked) this.current = "capable";
    else if (this.acked + this.lost >= TEST_PACKETS) this.current = "failed";
  }

  /** A round trip ended. */
  handleRound(): void {
    if (this.roundAcked === 0) return;
    this.allCeRounds = this.roundCe >= this.roundAcked ? this.allCeRounds + 1 : 0;
    this.roundAcked = 0;
    this.roundCe = 0;
    if (this.allCeRounds >= ALL_CE_ROUNDS) this.current = "failed";
  }

  /** The connection moved to another path: begins anew; what the peer has counted so far stays. */
  handlePathChange(): void {
    this.current = "testing";
    this.sent = 0;
    this.lost = 0;
    this.acked = 0;
    this.ceOnPath = 0;
    this.roundAcked = 0;
    this.roundCe = 0;
    this.allCeRounds = 0;
  }
}
