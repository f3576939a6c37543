// Builds the optional native addon (Linux). Without a compiler godwit works on plain Node, only slower,
// so that nothing here ever fails a build: the outcome is one line.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const BINARY = "native/build/Release/godwit_native.node";
const LOG = "native/build/build.log";

/** The sentence about what happened; `undefined` when there was nothing to do. */
export function buildNative() {
  if (process.platform !== "linux") return "native addon: only built on Linux; using node:dgram";
  if (isFresh()) return undefined;
  for (const tool of ["make", "python3", process.env.CC ?? "cc"]) {
    if (spawnSync(tool, ["--version"], { stdio: "ignore" }).status !== 0) {
      return `native addon: not built, there is no ${tool}; using node:dgram (slower)`;
    }
  }
  if (!existsSync("node_modules/node-gyp/bin/node-gyp.js")) {
    return "native addon: not built, node-gyp is not installed; using node:dgram (slower)";
  }
  const args = ["node_modules/node-gyp/bin/node-gyp.js", "rebuild", "-C", "native"];
  // Most installations bring the headers along; else node-gyp fetches them once.
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, "include/node/node_api.h"))) args.push(`--nodedir=${prefix}`);
  const run = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 300_000 });
  mkdirSync("native/build", { recursive: true });
  writeFileSync(LOG, `${run.stdout}\n${run.stderr}`);
  if (run.status !== 0) return `native addon: not built (see ${LOG}); using node:dgram (slower)`;
  return "native addon: built";
}

function isFresh() {
  if (!existsSync(BINARY)) return false;
  const builtMs = statSync(BINARY).mtimeMs;
  const sources = readdirSync("native/src").map((name) => join("native/src", name));
  return [...sources, "native/binding.gyp"].every((path) => statSync(path).mtimeMs <= builtMs);
}

if (process.argv[1]?.endsWith("build-native.mjs")) {
  process.stderr.write(`${buildNative() ?? "native addon: up to date"}\n`);
}
