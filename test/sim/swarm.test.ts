/**
 * A few hundred simulated transfers with random faults. A failing seed is replayed by the command in
 * its message; thousands of seeds: npm run sim.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadSimEnvironment } from "../../src/node/sim-environment.ts";
import type { RunResult } from "../../src/sim/swarm/environment.ts";
import type { SwarmPlan } from "../../src/sim/swarm/plan.ts";
import { runSeed, SCENARIOS } from "../../src/sim/swarm/scenarios.ts";

const environment = await loadSimEnvironment();

/** Seeds of each scenario that run here. */
const SEEDS = 120;

function failuresOf(results: readonly (RunResult & { readonly replay: string })[]): string[] {
  return results
    .filter(({ failure }) => failure !== undefined)
    .map(({ failure, replay }) => `${failure}\n  replay: ${replay}`);
}

describe("random faults", () => {
  test.each(["network", "process", "transfer"])("%s", (name) => {
    const results = Array.from({ length: SEEDS }, (_, i) => ({
      ...runSeed(SCENARIOS[name], i + 1, environment),
      replay: `npm run sim -- --scenario ${name} --seed ${i + 1}`,
    }));
    expect(failuresOf(results)).toEqual([]);
  });

  test("a seed runs the same way twice", () => {
    const run = (): RunResult => runSeed(SCENARIOS["transfer"], 17, environment);
    expect(run()).toEqual(run());
  });
});

describe("patterns of loss among the first twelve packets of either direction", () => {
  // A prime step visits both directions and all kinds of patterns; all of them: npm run sim -- --scenario masks.
  const MASK_STEP = 41;

  test("one pattern in 41", () => {
    const results = Array.from({ length: Math.ceil(8_192 / MASK_STEP) }, (_, i) => ({
      ...runSeed(SCENARIOS["masks"], 1 + i * MASK_STEP, environment),
      replay: `npm run sim -- --scenario masks --seed ${1 + i * MASK_STEP}`,
    }));
    expect(results).toHaveLength(200);
    expect(failuresOf(results)).toEqual([]);
  });
});

describe("a path that carries less from one moment on", () => {
  /** Virtual seconds that 4 MB take over 1 MB/s. */
  const seconds = (delayUs: number, loss: number, mtuBytes?: number): number => {
    const path = { rateBytesPerSecond: 1_000_000, delayUs, lossProbability: loss };
    const plan: SwarmPlan = {
      ...SCENARIOS["masks"].plan(1),
      sizes: [4_000_000],
      up: mtuBytes === undefined ? path : { ...path, changes: [{ atUs: 1_500_000, set: { mtuBytes } }] },
      down: path,
      healAtUs: 100_000_000,
      receiveWindowBytes: 16_777_216,
    };
    const { failure, attempts, virtualUs } = SCENARIOS["transfer"].run(plan, environment);
    expect([failure, attempts]).toEqual([undefined, 1]);
    return virtualUs / 1e6;
  };

  test.each([
    [5, 0, 1_250],
    [50, 0, 1_200],
    [50, 0.05, 1_250],
    [150, 0, 1_400],
    [150, 0.02, 1_200],
  ])("round trip 2 x %i ms, loss %f: to %i bytes costs 5 s at most", (delayMs, loss, mtuBytes) => {
    const cost = seconds(delayMs * 1_000, loss, mtuBytes) - seconds(delayMs * 1_000, loss);
    expect(cost).toBeLessThanOrEqual(5);
  });
});

describe("regressions", () => {
  const directory = new URL("regressions/", import.meta.url);
  const files = readdirSync(directory).filter((name) => name.endsWith(".json"));

  test.each(files)("%s", (name) => {
    const stored = JSON.parse(readFileSync(new URL(name, directory), "utf8")) as {
      readonly scenario: string;
      readonly plan: SwarmPlan;
    };
    const result = SCENARIOS[stored.scenario].run(stored.plan, environment);
    expect(failuresOf([{ ...result, replay: `npm run sim -- --plan test/sim/regressions/${name}` }])).toEqual(
      [],
    );
  });
});
