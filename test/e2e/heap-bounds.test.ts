/** The young generation of the built command line, in a process of its own: flags of V8 hold for all of one. */
import { execFileSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MAIN } from "./godwit.ts";

const bounds = pathToFileURL(join(MAIN, "../heap-bounds.js")).href;

/** Keeps 100 000 objects alive while making 4 million, in turns as short as those of a transfer: without bounds V8 goes to the most it may. */
const program = (bounded: boolean): string => `
  import { getHeapSpaceStatistics } from "node:v8";
  import { setImmediate as turn } from "node:timers/promises";
  ${bounded ? `(await import(${JSON.stringify(bounds)})).boundHeap();` : ""}
  const kept = [];
  let most = 0;
  for (let i = 0; i < 800; i++) {
    for (let j = 0; j < 5_000; j++) kept[(i * 5_000 + j) % 100_000] = { j };
    await turn();
    most = Math.max(most, getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size);
  }
  console.log(most);`;

const mostBytes = (bounded: boolean): number =>
  Number(
    execFileSync(process.execPath, ["--input-type=module", "-e", program(bounded)], { encoding: "utf8" }),
  );

// It is meant to stay at 8 MiB; V8 may grow it once more within a turn, before anybody can look.
test("the young generation stays small, where V8 alone would take 32 MiB or more", () => {
  expect(mostBytes(true)).toBeLessThanOrEqual(16 * 1024 * 1024);
  expect(mostBytes(false)).toBeGreaterThan(16 * 1024 * 1024);
});
