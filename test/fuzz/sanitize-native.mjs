// Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer beside the normal one, and runs
// node with it.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const COMPILER = process.env.CC ?? "gcc";

/** The path of the sanitized addon, compiled from native/src. */
export function buildSanitized() {
  const root = resolve(import.meta.dirname, "../..");
  const out = join(root, "native/build/asan/godwit_native.node");
  mkdirSync(dirname(out), { recursive: true });
  const sources = readdirSync(join(root, "native/src")).filter((name) => name.endsWith(".c"));
  const include = join(dirname(dirname(process.execPath)), "include/node");
  const args = ["-shared", "-fPIC", "-std=c11", "-O1", "-g", "-fno-omit-frame-pointer"];
  args.push("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-shared-libasan");
  args.push("-DNAPI_VERSION=9", "-D_GNU_SOURCE", "-DNODE_GYP_MODULE_NAME=godwit_native", `-I${include}`);
  args.push(...sources.map((name) => join(root, "native/src", name)), "-o", out);
  const usable = COMPILER.includes("clang") ? args : args.filter((arg) => arg !== "-shared-libasan");
  const run = spawnSync(COMPILER, usable, { stdio: "inherit" });
  if (run.status !== 0) throw new Error("the sanitized addon could not be compiled");
  return out;
}

/** Runs node with the sanitizer's runtime loaded first; returns the exit status. */
export function runSanitized(args) {
  const find = (name) =>
    spawnSync(COMPILER, [`-print-file-name=${name}`], { encoding: "utf8" }).stdout.trim();
  const env = {
    ...process.env,
    LD_PRELOAD: `${find("libasan.so")}:${find("libubsan.so")}`,
    // V8 keeps what it allocates until the end of the process: leaks there say nothing about the addon.
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=0:allocator_may_return_null=1",
    UBSAN_OPTIONS: "print_stacktrace=1",
  };
  return spawnSync(process.execPath, args, { env, stdio: "inherit" }).status ?? 1;
}
