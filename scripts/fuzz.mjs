// npm run fuzz -- TARGET|all|A,B,... [--seconds N each] [--seed N]: see test/fuzz/fuzz.test.ts.
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string", default: "30" }, seed: { type: "string", default: "1" } },
});
if (positionals.length !== 1 || !(Number(values.seconds) > 0)) {
  console.error("usage: npm run fuzz -- TARGET|all [--seconds N] (targets: test/fuzz/targets.ts) [--seed N]");
  process.exit(2);
}
const result = spawnSync("npx", ["vitest", "run", "test/fuzz/fuzz.test.ts"], {
  stdio: "inherit",
  env: { ...process.env, FUZZ_TARGET: positionals[0], FUZZ_SECONDS: values.seconds, FUZZ_SEED: values.seed },
});
process.exit(result.status ?? 1);
