// Parsers of what peers send under a coverage-guided fuzzer: does any input make one throw what it must not?
//   npm run fuzz -- TARGET|A,B,...|all [--seconds 30] [--seed 1]
// Each target runs `seconds` long. The targets are listed in test/fuzz/targets.ts; a finding is kept in
// test/fuzz/corpus/ and every later run begins with it.
import { spawnSync } from "node:child_process";
import { commandLine } from "./command-line.mjs";

const { positionals, values } = commandLine(
  import.meta.filename,
  { seconds: { type: "string", default: "30" }, seed: { type: "string", default: "1" } },
  true,
);
if (positionals.length !== 1 || !(Number(values.seconds) > 0)) {
  console.error("usage: npm run fuzz -- TARGET|all [--seconds N] (targets: test/fuzz/targets.ts) [--seed N]");
  process.exit(2);
}
const result = spawnSync("npx", ["vitest", "run", "test/fuzz/fuzz.test.ts"], {
  stdio: "inherit",
  env: { ...process.env, FUZZ_TARGET: positionals[0], FUZZ_SECONDS: values.seconds, FUZZ_SEED: values.seed },
});
process.exit(result.status ?? 1);
