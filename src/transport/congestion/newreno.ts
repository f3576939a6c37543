/** NewReno: halves the window on loss, grows by one datagram a round trip. Source: RFC 9002 §7. */
import type { AckSample, CongestionControllerFactory } from "./controller.ts";
import { WindowController } from "./window-controller.ts";

/** RFC 9002 §7.3.2 (kLossReductionFactor). */
const LOSS_REDUCTION_FACTOR = 0.5;

class NewReno extends WindowController {
  readonly name = "newreno";

  protected avoidCongestion(sample: AckSample): void {
    this.windowBytes += (this.datagramBytes * sample.ackedBytes) / this.windowBytes;
  }
  protected reducedWindowBytes(): number {
    return this.windowBytes * LOSS_REDUCTION_FACTOR;
  }
  protected save(): void {}
  protected restore(): void {}
  protected restartAvoidance(): void {}
}

/** Makes a NewReno controller. */
export const newReno: CongestionControllerFactory = (options) => new NewReno(options.datagramBytes, false);
