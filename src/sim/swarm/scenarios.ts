/** The scenarios a swarm can run, by name. */
import { drawPlan } from "./plan.ts";
import type { PlanShape, SwarmPlan } from "./plan.ts";
import type { RunResult, SimEnvironment } from "./environment.ts";
import { runTransfer } from "./transfer-run.ts";

/** What a scenario draws and how it runs. */
export interface Scenario {
  readonly shape: PlanShape;
  run(plan: SwarmPlan, environment: SimEnvironment): RunResult;
}

/** All scenarios. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  /** Network faults and pauses only. */
  network: {
    shape: { controllers: ["bbr", "cubic", "newreno"], hasKills: false, hasDisks: false },
    run: runTransfer,
  },
  /** Network and process faults: kills and restarts of both sides. */
  process: {
    shape: { controllers: ["bbr", "cubic", "newreno"], hasKills: true, hasDisks: false },
    run: runTransfer,
  },
  /** Everything: power cuts and failing disks, too; push and pull. */
  transfer: {
    shape: { controllers: ["bbr", "cubic", "newreno"], hasKills: true, hasDisks: true },
    run: runTransfer,
  },
};

/** Draws the plan of a seed and runs it. */
export function runSeed(scenario: Scenario, seed: number, environment: SimEnvironment): RunResult {
  return scenario.run(drawPlan(seed, scenario.shape), environment);
}
