/**
 * How much of the loss is the path's own and would not go away if we sent less. Pure.
 *
 * The share is measured on packets that were sent well below the path's bandwidth, and kept low: the
 * least of the latest two observations counts. See docs/design/congestion.md.
 */

/** Datagrams an observation needs: at 20 % loss its standard error is then 3 %. */
const OBSERVATION_DATAGRAMS = 150;
/** Loss beyond which nothing is compensated for any more: sending twice what arrives is the limit. */
const RANDOM_LOSS_MAX = 0.5;
/** Assumed for the noise of a path without random loss. */
const LEAST_LOSS = 0.01;
const HARDLY_ANY_LOSS = 0.001;

/** Estimates the loss rate that does not depend on our own rate. */
export class RandomLoss {
  /** Estimated share of packets lost whatever we do, 0 to 0.5. */
  rate = 0;
  private latest = 0;
  private before = 0;
  private lostDatagrams = 0;
  private datagrams = 0;

  /** Packets sent below the bandwidth: `lost` of `total` datagrams did not arrive. */
  handleQuietLoss(lost: number, total: number): void {
    // Far fewer lost than believed: then less is random, at once.
    const rate = lost / total;
    if (rate + 3 * Math.sqrt((this.rate * (1 - this.rate)) / total) < this.rate) {
      this.confirm(rate);
      return;
    }
    this.lostDatagrams += lost;
    this.datagrams += total;
    if (this.datagrams < OBSERVATION_DATAGRAMS) return;
    this.before = this.latest;
    this.latest = Math.min(this.lostDatagrams / this.datagrams, RANDOM_LOSS_MAX);
    this.lostDatagrams = 0;
    this.datagrams = 0;
    this.rate = Math.min(this.latest, this.before);
  }

  /** An experiment showed that loss did not fall when we sent less: this much is random. */
  confirm(rate: number): void {
    this.latest = Math.min(rate, RANDOM_LOSS_MAX);
    this.before = this.latest;
    this.rate = this.latest;
    this.lostDatagrams = 0;
    this.datagrams = 0;
  }

  /** Most loss that chance makes of the random rate among `total` datagrams: three standard errors. */
  expectedAtMost(total: number): number {
    const rate = Math.max(this.rate, LEAST_LOSS);
    return this.rate + 3 * Math.sqrt((rate * (1 - rate)) / Math.max(total, 1));
  }

  /** Loss that chance makes of the random rate: three standard errors, and no margin beyond. */
  likelyAtMost(total: number): number {
    const rate = Math.max(this.rate, HARDLY_ANY_LOSS);
    return this.rate + 3 * Math.sqrt((rate * (1 - rate)) / Math.max(total, 1));
  }

  /** Forgets everything: another path. */
  reset(): void {
    this.rate = 0;
    this.latest = 0;
    this.before = 0;
    this.lostDatagrams = 0;
    this.datagrams = 0;
  }
}
