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
  test.each(Object.keys(SCENARIOS))("%s", (name) => {
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
