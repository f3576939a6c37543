// Compiles every layer with the project references as the import rule, bundles the command line, and builds the
// optional native addon.
import { spawnSync } from "node:child_process";
import { buildNative } from "./build-native.mjs";
import { bundle } from "./bundle.mjs";

const run = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { stdio: "inherit" });
if (run.status !== 0) process.exit(run.status ?? 1);
await bundle();
const outcome = buildNative();
if (outcome !== undefined && !process.argv.includes("--quiet")) process.stderr.write(`${outcome}\n`);
