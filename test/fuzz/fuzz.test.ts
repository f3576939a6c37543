/**
 * Runs the fuzz targets: each a short while with a fixed seed, or one for long through
 * `npm run fuzz -- TARGET [--seconds N] [--seed N]`. A finding is saved in `corpus/`, which every
 * later run begins with.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { TARGETS, fromSpacedHex, mutate } from "./targets.ts";

const SHORT_RUN = 3_000;
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

function fuzz(name: string, isOver: (runs: number) => boolean): number {
  const { seeds, check } = TARGETS[name];
  const saved = loadCorpus(name);
  const pool = [...saved.map((hex) => fromSpacedHex(hex)), ...seeds()];
  for (const input of pool) check(input);
  const random = new SeededRandom(seed, name);
  let runs = 0;
  while (!isOver(runs)) {
    runs++;
    const input = mutate(random.pick(pool), random.pick(pool), random);
    try {
      check(input);
    } catch (error) {
      const hex = toHex(input);
      if (target !== undefined)
        writeFileSync(corpusFile(name), `${JSON.stringify([...saved, hex], undefined, 2)}\n`);
      throw new Error(`target ${name}, run ${runs}, seed ${seed}, input ${hex}`, { cause: error });
    }
    // Longer walks away from the seeds: some mutants become seeds themselves.
    if (random.chance(0.01)) pool[pool.length < 500 ? pool.length : random.integer(0, 499)] = input;
  }
  return runs;
}

const names = target === undefined ? Object.keys(TARGETS) : [target];

test.each(names)(
  "%s",
  (name) => {
    expect(Object.keys(TARGETS)).toContain(name);
    const endAt = performance.now() + seconds * 1_000;
    const runs =
      target === undefined
        ? fuzz(name, (count) => count >= (TARGETS[name].shortRun ?? SHORT_RUN))
        : fuzz(name, (count) => count % 64 === 0 && performance.now() > endAt);
    if (target !== undefined) console.log(`${name}: ${runs} inputs, no finding`);
  },
  (seconds + 60) * 1_000,
);
