/**
 * Runs the fuzz targets: each a short while with a fixed seed, or one for long through
 * `npm run fuzz -- TARGET [--seconds N] [--seed N]`, guided by the code it reaches. A finding is
 * saved in `corpus/`, which every later run begins with.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { CoverageGuide } from "./coverage.ts";
import { TARGETS, fromSpacedHex, mutate } from "./targets.ts";

const SHORT_RUN = 3_000;
/** Inputs between two looks at the coverage in a long run: a look costs about a millisecond. */
const BATCH = 64;
const target = process.env["FUZZ_TARGET"];
const seconds = Number(process.env["FUZZ_SECONDS"] ?? 30);
const seed = Number(process.env["FUZZ_SEED"] ?? 1);

function corpusFile(name: string): URL {
  return new URL(`corpus/${name}.json`, import.meta.url);
}

function loadCorpus(name: string): string[] {
  const file = corpusFile(name);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as string[]) : [];
}

function checked(name: string, run: number, input: Uint8Array): void {
  try {
    TARGETS[name].check(input);
  } catch (error) {
    const hex = toHex(input);
    if (target !== undefined)
      writeFileSync(corpusFile(name), `${JSON.stringify([...loadCorpus(name), hex], undefined, 2)}\n`);
    throw new Error(`target ${name}, run ${run}, seed ${seed}, input ${hex}`, { cause: error });
  }
}

function firstPool(name: string): Uint8Array[] {
  const pool = [...loadCorpus(name).map((hex) => fromSpacedHex(hex)), ...TARGETS[name].seeds()];
  for (const input of pool) TARGETS[name].check(input);
  return pool;
}

function shortRun(name: string): void {
  const pool = firstPool(name);
  const random = new SeededRandom(seed, name);
  for (let run = 1; run <= (TARGETS[name].shortRun ?? SHORT_RUN); run++) {
    const input = mutate(random.pick(pool), random.pick(pool), random);
    checked(name, run, input);
    // Longer walks away from the seeds: some mutants become seeds themselves.
    if (random.chance(0.01)) pool[pool.length < 500 ? pool.length : random.integer(0, 499)] = input;
  }
}

/** Inputs that reach new code become seeds; a few others too, in places that may be taken again. */
function longRun(name: string): string {
  const guide = new CoverageGuide();
  const pool = firstPool(name);
  guide.hasGrown();
  const random = new SeededRandom(seed, name);
  const walkers: Uint8Array[] = [];
  const endAt = performance.now() + seconds * 1_000;
  const firstReached = guide.reached;
  const firstSeeds = pool.length;
  let runs = 0;
  while (performance.now() < endAt) {
    const batch: Uint8Array[] = [];
    for (let i = 0; i < BATCH; i++) {
      const from = walkers.length > 0 && random.chance(0.2) ? walkers : pool;
      const input = mutate(random.pick(from), random.pick(pool), random);
      checked(name, ++runs, input);
      batch.push(input);
      if (random.chance(0.01))
        walkers[walkers.length < 500 ? walkers.length : random.integer(0, 499)] = input;
    }
    // Which of the batch did it is not known: all of them are kept, what is new is rare.
    if (guide.hasGrown()) pool.push(...batch);
  }
  guide.close();
  const cpuSeconds = Math.round(process.cpuUsage().user / 1e6);
  return `${name}: ${runs} inputs in ${seconds} s (${cpuSeconds} s of CPU), no finding; ${firstReached} places of the code reached by ${firstSeeds} seeds, ${guide.reached} after ${pool.length - firstSeeds} more`;
}

const names = target === undefined || target === "all" ? Object.keys(TARGETS) : target.split(",");

test.each(names)(
  "%s",
  (name) => {
    expect(Object.keys(TARGETS)).toContain(name);
    if (target === undefined) shortRun(name);
    else console.log(longRun(name));
  },
  (seconds + 300) * 1_000,
);
