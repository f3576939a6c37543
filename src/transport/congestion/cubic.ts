/** CUBIC with HyStart++: the window follows a cubic curve of time. Sources: RFC 9438, RFC 9406. */
import type { AckSample, CongestionControllerFactory } from "./controller.ts";
import { CubicCurve } from "./cubic-curve.ts";
import { WindowController } from "./window-controller.ts";

class Cubic extends WindowController {
  readonly name = "cubic";
  private readonly curve = new CubicCurve();
  private readonly savedCurve = new CubicCurve();

  protected avoidCongestion(sample: AckSample): void {
    const { datagramBytes } = this;
    const cwnd = this.windowBytes / datagramBytes;
    const acked = sample.ackedBytes / datagramBytes;
    this.windowBytes = this.curve.grow(cwnd, acked, sample.nowUs, sample.smoothedRttUs) * datagramBytes;
  }

  protected reducedWindowBytes(): number {
    return this.curve.reduce(this.windowBytes / this.datagramBytes) * this.datagramBytes;
  }

  protected save(): void {
    this.savedCurve.copyFrom(this.curve);
  }

  protected restore(): void {
    this.curve.copyFrom(this.savedCurve);
  }

  protected restartAvoidance(isNewPath: boolean): void {
    if (isNewPath) this.curve.reset();
    else this.curve.restartEpoch();
  }

  override handleAppLimited(nowUs: number, bytesInFlight: number): void {
    super.handleAppLimited(nowUs, bytesInFlight);
    // RFC 9438 §5.8: time without data does not move along the curve.
    if (bytesInFlight === 0) this.curve.restartEpoch();
  }
}

/** Makes a CUBIC controller. */
export const cubic: CongestionControllerFactory = (options) => new Cubic(options.datagramBytes, true);
