/** The scenarios a swarm can run, by name. */
import { MASK_SEEDS, maskPlan } from "./mask-plan.ts";
import { drawPlan } from "./plan.ts";
import type { SwarmPlan } from "./plan.ts";
import type { RunResult, SimEnvironment } from "./environment.ts";
import { runTransfer } from "./transfer-run.ts";

/** What a scenario draws and how it runs. */
export interface Scenario {
  /** The plan of a seed; equal seeds give equal plans. */
  plan(seed: number): SwarmPlan;
  /** Seeds that differ; undefined: any number of them. */
  readonly seeds?: number;
  run(plan: SwarmPlan, environment: SimEnvironment): RunResult;
}

const CONTROLLERS = ["bbr", "cubic", "newreno"] as const;

/** The first attempt must succeed. */
function runOnce(plan: SwarmPlan, environment: SimEnvironment): RunResult {
  const result = runTransfer(plan, environment);
  if (result.failure !== undefined || result.attempts === 1) return result;
  return { ...result, failure: `the command had to be run ${result.attempts} times` };
}

/** All scenarios. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  /** Network faults and pauses only. */
  network: {
    plan: (seed) => drawPlan(seed, { controllers: CONTROLLERS, hasKills: false, hasDisks: false }),
    run: runTransfer,
  },
  /** Network and process faults: kills and restarts of both sides. */
  process: {
    plan: (seed) => drawPlan(seed, { controllers: CONTROLLERS, hasKills: true, hasDisks: false }),
    run: runTransfer,
  },
  /** Everything: power cuts and failing disks, too; push and pull. */
  transfer: {
    plan: (seed) => drawPlan(seed, { controllers: CONTROLLERS, hasKills: true, hasDisks: true }),
    run: runTransfer,
  },
  /** Each pattern of losses among the first packets of a small transfer, in either direction; no retry. */
  masks: { plan: maskPlan, seeds: MASK_SEEDS, run: runOnce },
};

/** Draws the plan of a seed and runs it. */
export function runSeed(scenario: Scenario, seed: number, environment: SimEnvironment): RunResult {
  return scenario.run(scenario.plan(seed), environment);
}
