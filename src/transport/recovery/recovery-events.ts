/** Tells observers how recovery and congestion control of a path develop, no more often than they can use. */
import type { EventQueue } from "../../events/queue.ts";
import type { CongestionController } from "../congestion/controller.ts";
import type { EcnState } from "./ecn.ts";
import type { RttEstimator } from "./rtt.ts";

/** Least time between two `recovery-updated` events, in microseconds: fifty a second feed any chart. */
const UPDATE_INTERVAL_US = 20_000;

/** What observers were told last of one path. */
export class RecoveryEvents {
  private readonly events: EventQueue;
  private controllerState: string;
  private ecnState: EcnState;
  private updateDueUs = 0;

  constructor(events: EventQueue, controllerState: string, ecnState: EcnState) {
    this.events = events;
    this.controllerState = controllerState;
    this.ecnState = ecnState;
  }

  /** Adds the events that are due after an acknowledgement or a loss. */
  report(
    controller: CongestionController,
    rtt: RttEstimator,
    ecnState: EcnState,
    bytesInFlight: number,
    nowUs: number,
  ): void {
    const { events } = this;
    if (controller.state !== this.controllerState) {
      const from = this.controllerState;
      this.controllerState = controller.state;
      events.add({
        type: "congestion-state-changed",
        controller: controller.name,
        from,
        to: controller.state,
      });
    }
    if (ecnState !== this.ecnState) {
      events.add({ type: "ecn-state-changed", from: this.ecnState, to: ecnState });
      this.ecnState = ecnState;
    }
    if (nowUs < this.updateDueUs) return;
    this.updateDueUs = nowUs + Math.max(UPDATE_INTERVAL_US, rtt.smoothedUs);
    events.add({
      type: "recovery-updated",
      smoothedRttUs: rtt.smoothedUs,
      minRttUs: rtt.minUs,
      latestRttUs: rtt.latestUs,
      rttVariationUs: rtt.variationUs,
      congestionWindowBytes: controller.congestionWindowBytes,
      bytesInFlight,
      pacingRateBytesPerSecond: controller.pacingRateBytesPerSecond,
      bandwidthBytesPerSecond: controller.bandwidthBytesPerSecond,
    });
  }
}
