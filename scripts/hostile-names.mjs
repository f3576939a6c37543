// Hostile file names of each kind offered to a real server through the built command line: does one leave the inbox?
//   npm run hostile:names -- [--count 1000]
// The cases are in test/support/hostile-names.ts, what is checked in test/e2e/hostile.test.ts.
import { spawnSync } from "node:child_process";
import { commandLine } from "./command-line.mjs";

const { values } = commandLine(import.meta.filename, { count: { type: "string", default: "1000" } });
const result = spawnSync("npx", ["vitest", "run", "test/e2e/hostile.test.ts", "-t", "names"], {
  stdio: "inherit",
  env: { ...process.env, HOSTILE_NAMES: values.count },
});
process.exit(result.status ?? 1);
