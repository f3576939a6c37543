// Compiles every layer with the project references as the import rule, and the optional native addon.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync } from "node:fs";
import { buildNative } from "./build-native.mjs";

const run = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { stdio: "inherit" });
if (run.status !== 0) process.exit(run.status ?? 1);
if (existsSync("dist/cli/main.js")) chmodSync("dist/cli/main.js", 0o755);
const outcome = buildNative();
if (outcome !== undefined && !process.argv.includes("--quiet")) process.stderr.write(`${outcome}\n`);
