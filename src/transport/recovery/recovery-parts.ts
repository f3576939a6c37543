/**
 * What recovery of one path is made of: the parts that taking acknowledgements and detecting losses share.
 * A record, not a machine: each part has its own file.
 */
import type { EventQueue } from "../../events/queue.ts";
import type { DeliveryRate } from "./delivery-rate.ts";
import type { EcnValidation } from "./ecn.ts";
import type { Flight } from "./flight.ts";
import type { PersistentCongestion } from "./persistent-congestion.ts";
import type { ProbeTimer } from "./probe-timer.ts";
import type { ReorderingTolerance } from "./reordering.ts";
import type { RttEstimator } from "./rtt.ts";
import type { RecoveryStatistics } from "./statistics.ts";

/** The parts of one path's recovery. */
export interface RecoveryParts {
  readonly flight: Flight;
  readonly rtt: RttEstimator;
  readonly tolerance: ReorderingTolerance;
  readonly delivery: DeliveryRate;
  readonly persistence: PersistentCongestion;
  readonly probe: ProbeTimer;
  readonly ecn: EcnValidation;
  readonly statistics: RecoveryStatistics;
  readonly events: EventQueue | undefined;
}
