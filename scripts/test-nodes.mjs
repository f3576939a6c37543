// Runs the test suite on several versions of Node.
//   npm run test:nodes -- [--keep DIRECTORY] [--only PATTERN,PATTERN] [VERSIONS]
// VERSIONS are those that npm knows, with commas between (default: 22,24,26, the newest of each). Each is
// installed from npm into a directory for temporary files, or kept in DIRECTORY for the next time; nothing
// of the repository changes. `--only src/wire,test/e2e` runs these tests instead of all. The tests' child
// processes run on the same Node, and what is deprecated there throws. One line a version; where tests
// failed, the end of what they said. Exit status 1 when one failed.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { commandLine } from "./command-line.mjs";

const { values, positionals } = commandLine(
  import.meta.filename,
  { keep: { type: "string" }, only: { type: "string", default: "" } },
  true,
);
const versions =
  positionals.length === 0 ? ["22", "24", "26"] : positionals.flatMap((word) => word.split(","));
const isWindows = process.platform === "win32";
/** npm has one package of Node for each system and processor. */
const nodePackage = `node-${isWindows ? "win" : process.platform}-${process.arch}`;
const root = resolve(import.meta.dirname, "..");
const directory =
  values.keep === undefined ? mkdtempSync(join(tmpdir(), "godwit-nodes-")) : resolve(values.keep);

/** Runs a program to its end; what it wrote is one text. */
function run(program, words, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, words, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    ...options,
  });
  return { status, text: `${stdout ?? ""}${stderr ?? ""}${error === undefined ? "" : error.message}` };
}

/** Installs a Node; returns the path of its program, and throws when npm has no such version. */
function install(version) {
  const prefix = join(directory, version);
  const program = join(prefix, "node_modules", nodePackage, "bin", isWindows ? "node.exe" : "node");
  mkdirSync(prefix, { recursive: true });
  const words = ["install", "--prefix", prefix, "--no-save", "--no-audit", "--no-fund"];
  const npm = run("npm", [...words, `${nodePackage}@${version}`], { cwd: prefix, shell: isWindows });
  if (npm.status !== 0 || !existsSync(program))
    throw new Error(`npm has not installed it: ${npm.text.trim()}`);
  return program;
}

/** Runs the tests on that Node; returns its version, and what there is to say. */
function test(program) {
  const { text: name } = run(program, ["--version"]);
  const patterns = values.only.split(",").filter((pattern) => pattern !== "");
  const started = performance.now();
  const { status, text } = run(program, ["node_modules/vitest/vitest.mjs", "run", ...patterns], {
    cwd: root,
    env: {
      ...process.env,
      NO_COLOR: "1",
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --throw-deprecation`,
      PATH: `${dirname(program)}${delimiter}${process.env.PATH}`,
    },
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const counted = /^ +Tests +(.+)$/m.exec(text)?.[1] ?? "no tests ran";
  const line = `${name.trim()}: ${status === 0 ? "passed" : "FAILED"}, ${counted}, ${seconds} s`;
  return { passed: status === 0, line, text };
}

let failures = 0;
try {
  for (const version of versions) {
    try {
      const { passed, line, text } = test(install(version));
      if (!passed) {
        failures++;
        process.stderr.write(`${text.slice(-20_000)}\n`);
      }
      console.log(line);
    } catch (error) {
      failures++;
      console.log(`${version}: FAILED, ${error.message}`);
    }
  }
} finally {
  if (values.keep === undefined) rmSync(directory, { recursive: true, force: true });
}
process.exitCode = failures === 0 ? 0 : 1;
