// Compiles every layer with the project references as the import rule.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync } from "node:fs";

const run = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { stdio: "inherit" });
if (run.status !== 0) process.exit(run.status ?? 1);
if (existsSync("dist/cli/main.js")) chmodSync("dist/cli/main.js", 0o755);
