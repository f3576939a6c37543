/**
 * Runs simulated transfers by the thousand: npm run sim -- --seeds N [--seed S] [--scenario NAME]
 * [--plan FILE] [--workers N]. A failing seed prints the one command that replays it.
 */
import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const dist = new URL("../dist/", import.meta.url);
const { SCENARIOS, runSeed } = await import(new URL("sim/swarm/scenarios.js", dist));
const { drawPlan } = await import(new URL("sim/swarm/plan.js", dist));
const { loadSimEnvironment } = await import(new URL("node/sim-environment.js", dist));

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    scenario: { type: "string", default: "transfer" },
    plan: { type: "string" },
    workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
    "stop-at-failure": { type: "boolean", default: false },
    "print-plan": { type: "boolean", default: false },
  },
});

const scenario = SCENARIOS[values.scenario];
if (scenario === undefined) {
  console.error(
    `sim: there is no scenario ${values.scenario}; there are ${Object.keys(SCENARIOS).join(", ")}`,
  );
  process.exit(2);
}

/** Runs seeds `from`, `from + step`, … below `end` in this process. */
async function work(from, end, step) {
  const environment = await loadSimEnvironment();
  for (let seed = from; seed < end; seed += step) {
    const result = runSeed(scenario, seed, environment);
    process.send(result);
    if (values["stop-at-failure"] && result.failure !== undefined) return;
  }
}

if (process.send !== undefined) {
  await work(Number(values.from), Number(values.from) + Number(values.seeds), Number(values.workers));
  process.disconnect();
} else if (values.seed !== undefined || values.plan !== undefined) {
  await replay();
} else {
  await swarm();
}

async function replay() {
  const environment = await loadSimEnvironment();
  const stored = values.plan === undefined ? undefined : JSON.parse(readFileSync(values.plan, "utf8"));
  const plan = stored?.plan ?? drawPlan(Number(values.seed), scenario.shape);
  if (values["print-plan"]) console.log(JSON.stringify(plan, undefined, 2));
  const result = (SCENARIOS[stored?.scenario] ?? scenario).run(plan, environment);
  console.log(JSON.stringify(result));
  process.exitCode = result.failure === undefined ? 0 : 1;
}

async function swarm() {
  const begin = performance.now();
  const workers = Math.max(1, Number(values.workers));
  const totals = { runs: 0, failed: 0, attempts: 0, packets: 0, virtualSeconds: 0 };
  const ends = Array.from({ length: workers }, (_, i) => {
    const child = fork(fileURLToPath(import.meta.url), [
      `--scenario=${values.scenario}`,
      `--workers=${workers}`,
      `--from=${Number(values.from) + i}`,
      `--seeds=${Number(values.seeds) - i}`,
      ...(values["stop-at-failure"] ? ["--stop-at-failure"] : []),
    ]);
    child.on("message", (result) => {
      totals.runs += 1;
      totals.attempts += result.attempts;
      totals.packets += result.packets;
      totals.virtualSeconds += result.virtualUs / 1e6;
      if (result.failure !== undefined) {
        totals.failed += 1;
        console.log(`seed ${result.seed}: ${result.failure}`);
        console.log(`  replay: npm run sim -- --scenario ${values.scenario} --seed ${result.seed}`);
      }
      if (process.stderr.isTTY && totals.runs % 50 === 0) {
        process.stderr.write(`\r${totals.runs} runs, ${totals.failed} failed`);
      }
    });
    return new Promise((resolve) => {
      child.on("exit", (code) => resolve(code));
    });
  });
  const codes = await Promise.all(ends);
  const seconds = (performance.now() - begin) / 1_000;
  const summary = { scenario: values.scenario, ...totals, seconds: Math.round(seconds * 10) / 10 };
  console.log(JSON.stringify({ ...summary, perSecond: Math.round((totals.runs / seconds) * 10) / 10 }));
  const isComplete = totals.runs === Number(values.seeds) && codes.every((code) => code === 0);
  if (!isComplete) console.log("sim: a worker died; its last seed is missing above");
  process.exitCode = totals.failed === 0 && isComplete ? 0 : 1;
}
