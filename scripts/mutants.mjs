/**
 * Planted bugs: proof that the simulator sees what it should see. Each is a change of one place in a
 * copy of the compiled code; production code has no hooks for it.
 *
 *   node scripts/mutants.mjs             each listed bug must fail with the seed written beside it
 *   node scripts/mutants.mjs --find N    looks for the first failing seed among N and writes it down
 *   node scripts/mutants.mjs --only TEXT only those whose name contains TEXT
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { commandLine } from "./command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  find: { type: "string" },
  only: { type: "string", default: "" },
});
const root = new URL("../", import.meta.url);
const listFile = new URL("scripts/mutants.json", root);
const copy = new URL(".mutants/", root);
const mutants = JSON.parse(readFileSync(listFile, "utf8"));

rmSync(copy, { recursive: true, force: true });
mkdirSync(copy);
for (const folder of ["dist", "scripts"]) {
  cpSync(new URL(folder, root), new URL(folder, copy), { recursive: true });
}
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));

/** Longest a mutant may run, in milliseconds: one that hangs is caught, too. */
const LIMIT_MS = 240_000;

/** Runs the simulator on the mutated copy; returns what it printed, or `undefined` if it hung. */
function simulate(...args) {
  const script = fileURLToPath(new URL("scripts/sim.mjs", copy));
  const run = spawnSync(process.execPath, [script, ...args], { encoding: "utf8", timeout: LIMIT_MS });
  return { output: run.stdout, isHung: run.signal !== null, isFailed: run.status !== 0 };
}

let alive = 0;
for (const mutant of mutants.filter(({ name }) => name.includes(values.only))) {
  const { file, find, replace, scenario } = mutant;
  const target = new URL(`dist/${file}`, copy);
  const source = readFileSync(target, "utf8");
  if (source.split(find).length !== 2) {
    console.log(`STALE   ${mutant.name}: its place is not there exactly once`);
    alive += 1;
    continue;
  }
  writeFileSync(
    target,
    source.replace(find, () => replace),
  );
  if (values.find !== undefined && mutant.seed === undefined && mutant.plan === undefined) {
    const { output, isHung } = simulate(
      "--scenario",
      scenario,
      "--seeds",
      values.find,
      "--workers=1",
      "--stop-at-failure",
    );
    const found = /^seed (\d+): (.*)$/m.exec(output);
    if (found !== null) Object.assign(mutant, { seed: Number(found[1]), sees: found[2].slice(0, 160) });
    else if (isHung) mutant.sees = "hangs";
    console.log(
      `${found === null ? "ALIVE " : "KILLED"}  ${mutant.name}: seed ${mutant.seed}: ${mutant.sees}`,
    );
    if (found === null) alive += 1;
    writeFileSync(listFile, `${JSON.stringify(mutants, undefined, 2)}\n`);
  } else {
    const stored = mutant.plan === undefined ? undefined : fileURLToPath(new URL(mutant.plan, root));
    const replay = stored === undefined ? ["--seed", String(mutant.seed)] : ["--plan", stored];
    const { isFailed, output } = simulate("--scenario", scenario, ...replay);
    if (mutant.sees === undefined && isFailed) mutant.sees = JSON.parse(output).failure.slice(0, 160);
    const by = mutant.plan ?? `seed ${mutant.seed}`;
    console.log(`${isFailed ? "KILLED" : "ALIVE "}  ${mutant.name}: ${by}`);
    if (!isFailed) alive += 1;
  }
  writeFileSync(target, source);
}
console.log(`${mutants.length} planted bugs, ${alive} not caught`);
process.exitCode = alive === 0 ? 0 : 1;
