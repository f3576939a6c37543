/**
 * Simulated transfers by the thousand, in virtual time, under faults that each seed chooses: how many
 * fail, and how many run in a second.
 *
 *   npm run sim -- --seeds 1000 [--from 1]     so many seeds, the first one being 1
 *   npm run sim -- --seed 4711                 one seed again, and what happened
 *   npm run sim -- --plan FILE                 one stored plan again
 *
 *   --scenario NAME      what runs: transfer unless named; a wrong name lists all there are
 *   --workers N          processes: as many as there are cores, two at most
 *   --for SECONDS        ends then
 *   --stop-at-failure    ends at the first failure
 *   --print-plan         with --seed: prints the plan of the seed as JSON
 *
 * A failing seed prints the one command that replays it. The totals come always: also when --for or a
 * signal ends the run early.
 */
import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { commandLine } from "./command-line.mjs";

const dist = new URL("../dist/", import.meta.url);
const { SCENARIOS, runSeed } = await import(new URL("sim/swarm/scenarios.js", dist));
const { loadSimEnvironment } = await import(new URL("node/sim-environment.js", dist));

const { values } = commandLine(import.meta.filename, {
  seeds: { type: "string" },
  from: { type: "string", default: "1" },
  seed: { type: "string" },
  scenario: { type: "string", default: "transfer" },
  plan: { type: "string" },
  for: { type: "string" },
  workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
  "stop-at-failure": { type: "boolean", default: false },
  "print-plan": { type: "boolean", default: false },
});

const scenario = SCENARIOS[values.scenario];
if (scenario === undefined) {
  console.error(
    `sim: there is no scenario ${values.scenario}; there are ${Object.keys(SCENARIOS).join(", ")}`,
  );
  process.exit(2);
}

/** All there are, or a thousand. */
values.seeds ??= String(scenario.seeds ?? 1_000);

/** Runs seeds `from`, `from + step`, … below `end` in this process. */
async function work(from, end, step) {
  const environment = await loadSimEnvironment();
  for (let seed = from; seed < end; seed += step) {
    const result = runSeed(scenario, seed, environment);
    process.send(result);
    // The event loop has to turn for the message to leave, and for the end of the parent to be seen.
    await setImmediate();
    if (!process.connected) return;
    if (values["stop-at-failure"] && result.failure !== undefined) return;
  }
}

if (process.send !== undefined) {
  process.on("SIGINT", () => {}); // the terminal tells everyone; the parent ends the workers
  await work(Number(values.from), Number(values.from) + Number(values.seeds), Number(values.workers));
  if (process.connected) process.disconnect();
} else if (values.seed !== undefined || values.plan !== undefined) {
  await replay();
} else {
  await swarm();
}

async function replay() {
  const environment = await loadSimEnvironment();
  const stored = values.plan === undefined ? undefined : JSON.parse(readFileSync(values.plan, "utf8"));
  const plan = stored?.plan ?? scenario.plan(Number(values.seed));
  if (values["print-plan"]) console.log(JSON.stringify(plan, undefined, 2));
  const result = (SCENARIOS[stored?.scenario] ?? scenario).run(plan, environment);
  console.log(JSON.stringify(result));
  process.exitCode = result.failure === undefined ? 0 : 1;
}

async function swarm() {
  const begin = performance.now();
  const workers = Math.max(1, Number(values.workers));
  const totals = { runs: 0, failed: 0, attempts: 0, packets: 0, virtualSeconds: 0 };
  const children = [];
  let endedBy;
  const endEarly = (why) => {
    endedBy ??= why;
    for (const child of children) child.kill("SIGKILL");
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => endEarly(signal));
  const limit =
    values.for === undefined ? undefined : setTimeout(endEarly, Number(values.for) * 1_000, "limit");
  const ends = Array.from({ length: workers }, (_, i) => {
    const child = fork(fileURLToPath(import.meta.url), [
      `--scenario=${values.scenario}`,
      `--workers=${workers}`,
      `--from=${Number(values.from) + i}`,
      `--seeds=${Number(values.seeds) - i}`,
      ...(values["stop-at-failure"] ? ["--stop-at-failure"] : []),
    ]);
    children.push(child);
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
  clearTimeout(limit);
  const seconds = (performance.now() - begin) / 1_000;
  const summary = { scenario: values.scenario, from: Number(values.from), ...totals };
  const perSecond = Math.round((totals.runs / seconds) * 10) / 10;
  const end = endedBy === undefined ? {} : { endedBy };
  console.log(JSON.stringify({ ...summary, seconds: Math.round(seconds), perSecond, ...end }));
  const isComplete = totals.runs === Number(values.seeds) && codes.every((code) => code === 0);
  if (!isComplete && endedBy === undefined) {
    console.log("sim: a worker died; its last seed is missing above");
  }
  const isEnough = isComplete || endedBy === "limit";
  process.exitCode = totals.failed === 0 && isEnough ? 0 : 1;
}
