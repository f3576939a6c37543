/** The window growth function of CUBIC, in segments and seconds. Pure. Source: RFC 9438 §4. */

/** RFC 9438 §4.1: C, in segments per second cubed. */
const C = 0.4;
/** RFC 9438 §4.6: beta_cubic. */
export const CUBIC_BETA = 0.7;
/** RFC 9438 §4.3: growth of the Reno-friendly estimate, 3 (1 - beta) / (1 + beta). */
const ALPHA = (3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA);

/** One sender's place on the curve. */
export class CubicCurve {
  private wMax = 0;
  private wEst = 0;
  private cwndPrior = 0;
  private kSeconds = 0;
  private epochStartUs: number | undefined = undefined;

  /** The window after `segmentsAcked` more arrived, from `cwnd`, all in segments. RFC 9438 §4.2-4.5. */
  grow(cwnd: number, segmentsAcked: number, nowUs: number, rttUs: number): number {
    if (this.epochStartUs === undefined) {
      this.epochStartUs = nowUs;
      this.wEst = cwnd;
      // RFC 9438 §4.8: without a maximum above, the plateau is where we are.
      if (this.wMax < cwnd) this.wMax = cwnd;
      this.kSeconds = Math.cbrt((this.wMax - cwnd) / C);
    }
    const seconds = (nowUs - this.epochStartUs) * 1e-6;
    // RFC 9438 §4.3: never slower than Reno would be.
    const alpha = this.wEst < this.cwndPrior ? ALPHA : 1;
    this.wEst += (alpha * segmentsAcked) / cwnd;
    if (this.wCubic(seconds) < this.wEst) return Math.max(this.wEst, cwnd);
    // RFC 9438 §4.2: aim at where the curve is one round trip later, at most half as much again.
    const aim = this.wCubic(seconds + rttUs * 1e-6);
    const target = Math.min(Math.max(aim, cwnd), 1.5 * cwnd);
    return cwnd + ((target - cwnd) / cwnd) * segmentsAcked;
  }

  /** W_cubic(t) in segments. RFC 9438 §4.2. */
  private wCubic(seconds: number): number {
    return C * (seconds - this.kSeconds) ** 3 + this.wMax;
  }

  /** The window after a congestion event at `cwnd` segments. RFC 9438 §4.6, §4.7. */
  reduce(cwnd: number, beta: number = CUBIC_BETA): number {
    this.cwndPrior = cwnd;
    // RFC 9438 §4.7: fast convergence makes room for new flows.
    this.wMax = cwnd < this.wMax ? (cwnd * (1 + beta)) / 2 : cwnd;
    this.epochStartUs = undefined;
    return cwnd * beta;
  }

  /** Starts below a window that was held before, as after a reduction from it. */
  aimAt(wMax: number): void {
    this.reset();
    this.wMax = wMax;
    this.cwndPrior = wMax;
  }

  /** The next growth starts a new epoch from where the window is then. */
  restartEpoch(): void {
    this.epochStartUs = undefined;
  }

  /** Forgets everything. */
  reset(): void {
    this.wMax = 0;
    this.wEst = 0;
    this.cwndPrior = 0;
    this.epochStartUs = undefined;
  }

  /** Takes the place of `other`. */
  copyFrom(other: CubicCurve): void {
    this.wMax = other.wMax;
    this.wEst = other.wEst;
    this.cwndPrior = other.cwndPrior;
    this.kSeconds = other.kSeconds;
    this.epochStartUs = other.epochStartUs;
  }
}
