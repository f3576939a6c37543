// Large files (2 to 4 GiB) through the classic systems on this machine: seconds, MiB/s and peak memory.
//   npm run classic:large [-- CASE...]     all cases unless named; a wrong name lists them
// Each case starts both ends through the built command line and compares SHA-256 at both sides.
import { spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { commandLine } from "./command-line.mjs";

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const MIB = 1024 * 1024;
const PORT = 17_735;
const { positionals } = commandLine(import.meta.filename, {}, true);
const directory = mkdtempSync(path.join(tmpdir(), "godwit-classic-large-"));
const out = path.join(directory, "out");

/** One more than a round size, so that the last chunk is short. */
const CASES = {
  "chunks-1024": {
    bytes: 2048 * MIB + 1,
    server: ["chunks", "server", PORT, directory, "--once", "--bind", "127.0.0.1"],
    client: (file) => ["chunks", "client", `127.0.0.1:${PORT}`, file, "out"],
  },
  "chunks-65000": {
    bytes: 2048 * MIB + 1,
    server: ["chunks", "server", PORT, directory, "--once", "--bind", "127.0.0.1", "--buffer", 65_000],
    client: (file) => ["chunks", "client", `127.0.0.1:${PORT}`, file, "out"],
  },
  "chunks-s24": {
    bytes: 2048 * MIB + 1,
    server: ["chunks", "server", PORT, directory, "--once", "--bind", "127.0.0.1", "--edition", "s24"],
    client: (file) => ["chunks", "client", `127.0.0.1:${PORT}`, file, "out", "--edition", "s24"],
  },
  "p2mp-ascii": {
    bytes: 5 * MIB + 1,
    // The original's wire has no end of file, hence the status of its own.
    serverExit: 12,
    server: ["p2mp", "server", PORT, out, 0, "--bind", "127.0.0.1"],
    client: (file) => ["p2mp", "client", "127.0.0.1", PORT, file, 500],
  },
  "p2mp-ascii-lossy": {
    bytes: 5 * MIB + 1,
    serverExit: 12,
    server: ["p2mp", "server", PORT, out, 0.01, "--seed", 1, "--bind", "127.0.0.1"],
    client: (file) => ["p2mp", "client", "127.0.0.1", PORT, file, 1_400],
  },
  "p2mp-binary": {
    bytes: 5 * MIB + 1,
    server: ["p2mp", "server", PORT, out, 0, "--encoding", "binary", "--bind", "127.0.0.1"],
    client: (file) => ["p2mp", "client", "127.0.0.1", PORT, file, 500, "--encoding", "binary"],
  },
  tcplike: {
    bytes: 5 * MIB + 1,
    // The original's wire carries text only.
    isText: true,
    server: ["tcplike", "server", PORT, "--output", out, "--bind", "127.0.0.1"],
    client: () => ["tcplike", "client", "127.0.0.1", PORT],
    hasInput: true,
  },
  "tcplike-extended": {
    bytes: 5 * MIB + 1,
    server: ["tcplike", "server", PORT, "--output", out, "--bind", "127.0.0.1"],
    client: () => ["tcplike", "client", "127.0.0.1", PORT, "--extended"],
    hasInput: true,
  },
  fetch: {
    bytes: 5 * MIB + 1,
    // Nothing on this wire tells the server what arrived.
    serverExit: 12,
    server: ["fetch", "server", PORT, directory, "--once", "--bind", "127.0.0.1"],
    client: (file) => ["fetch", "client", "127.0.0.1", PORT, path.basename(file), out],
  },
  hashed: {
    bytes: 2048 * MIB + 1,
    server: (file) => ["hashed", "server", PORT, file, "--once", "--bind", "127.0.0.1", "--no-ping"],
    client: () => ["hashed", "client", "127.0.0.1", PORT, out, "--no-ping"],
  },
};

/** Writes `bytes` bytes that no compression or zero page makes easy. */
function makeFile(file, bytes, isText) {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16));
  const zeros = Buffer.alloc(MIB);
  const descriptor = openSync(file, "w");
  for (let left = bytes; left > 0; left -= MIB) {
    const block = cipher.update(zeros.subarray(0, Math.min(left, MIB)));
    writeSync(descriptor, isText ? block.map((byte) => 0x21 + (byte % 94)) : block);
  }
  closeSync(descriptor);
}

async function sha256(file) {
  if (statSync(file, { throwIfNoEntry: false }) === undefined) return "no file";
  const hash = createHash("sha256");
  for await (const block of createReadStream(file, { highWaterMark: MIB })) hash.update(block);
  return hash.digest("hex");
}

/** Starts one end and follows its largest memory use where the system tells it. */
function start(words, input = "ignore") {
  const child = spawn(process.execPath, [main, "classic", ...words.map(String), "--quiet"], {
    stdio: [input, "ignore", "inherit"],
  });
  const run = { peakKib: 0, exit: new Promise((resolve) => child.on("exit", resolve)) };
  const timer = setInterval(() => {
    try {
      const match = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"));
      run.peakKib = Math.max(run.peakKib, Number(match?.[1] ?? 0));
    } catch {
      // Not this system, or the process is gone.
    }
  }, 200);
  child.on("exit", () => clearInterval(timer));
  return run;
}

async function measure(name, { bytes, server, client, serverExit = 0, isText = false, hasInput = false }) {
  const source = path.join(directory, `source-${bytes}${isText ? ".txt" : ""}`);
  if (statSync(source, { throwIfNoEntry: false }) === undefined) makeFile(source, bytes, isText);
  rmSync(out, { force: true });
  const receiving = start(typeof server === "function" ? server(source) : server);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const startedMs = performance.now();
  const input = hasInput ? openSync(source, "r") : "ignore";
  const sending = start(client(source), input);
  const clientExit = await sending.exit;
  if (hasInput) closeSync(input);
  const seconds = (performance.now() - startedMs) / 1_000;
  const exit = await receiving.exit;
  const isSame = (await sha256(source)) === (await sha256(out));
  const isGood = clientExit === 0 && exit === serverExit && isSame;
  process.stdout.write(
    `${isGood ? "ok  " : "FAIL"} ${name}: ${bytes} bytes in ${seconds.toFixed(1)} s, ` +
      `${(bytes / MIB / seconds).toFixed(2)} MiB/s, exits ${clientExit} and ${exit}, contents ${isSame ? "equal" : "DIFFER"}, ` +
      `peak memory ${Math.round(sending.peakKib / 1024)} and ${Math.round(receiving.peakKib / 1024)} MiB\n`,
  );
  return isGood;
}

const wanted = positionals.length > 0 ? positionals : Object.keys(CASES);
const unknown = wanted.find((name) => !Object.hasOwn(CASES, name));
if (unknown !== undefined) {
  rmSync(directory, { recursive: true });
  process.stderr.write(`there is no case ${unknown}; there are ${Object.keys(CASES).join(", ")}\n`);
  process.exit(2);
}
let isGood = true;
try {
  for (const name of wanted) isGood = (await measure(name, CASES[name])) && isGood;
} finally {
  rmSync(directory, { recursive: true });
}
process.exitCode = isGood ? 0 : 1;
