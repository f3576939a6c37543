/** The young generation of the built command line, in a process of its own: flags of V8 hold for all of one. */
import { execFileSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MAIN } from "./godwit.ts";

/** Keeps 100 000 objects alive while making 4 million, in turns as short as those of a transfer: V8 alone mostly goes to 32 MiB or more. */
const PROGRAM = `
  import { getHeapSpaceStatistics } from "node:v8";
  import { setImmediate as turn } from "node:timers/promises";
  import { boundHeap } from ${JSON.stringify(pathToFileURL(join(MAIN, "../heap-bounds.js")).href)};
  boundHeap();
  const kept = [];
  let most = 0;
  for (let i = 0; i < 800; i++) {
    for (let j = 0; j < 5_000; j++) kept[(i * 5_000 + j) % 100_000] = { j };
    await turn();
    most = Math.max(most, getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size);
  }
  console.log(most);`;

// It is meant to stay at 8 MiB; V8 may grow it once more within a turn, before anybody can look.
test("the young generation has 16 MiB at most", () => {
  const most = execFileSync(process.execPath, ["--input-type=module", "-e", PROGRAM], { encoding: "utf8" });
  expect(Number(most)).toBeLessThanOrEqual(16 * 1024 * 1024);
});
