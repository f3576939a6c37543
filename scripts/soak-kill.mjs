/**
 * kill -9 of the sender, the receiver or both at random moments of transfers through the real command
 * line, then the same command again.
 *
 *   npm run soak:kill -- [--count 50] [--seed 1] [--for SECONDS] [--only sender|receiver|both]
 *
 * `count` kills of each victim, or of the one named; `--for` ends the run early.
 *
 * Each victim is killed N times: while connecting, early, late, and after the last byte. Then files
 * are the same as at the source, nothing is left behind, and what was sent again is within 8 MiB and
 * 5 % of what was missing.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { commandLine } from "./command-line.mjs";

const { SeededRandom } = await import(new URL("../dist/base/random.js", import.meta.url));
const MAIN = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

const { values } = commandLine(import.meta.filename, {
  count: { type: "string", default: "50" },
  seed: { type: "string", default: "1" },
  for: { type: "string" },
  only: { type: "string" },
});

const MIB = 1024 * 1024;
/** What may be sent again beyond what was missing: 8 MiB and 5 %. (docs/design/files.md) */
const RESENT_MAX = { bytes: 8 * MIB, fraction: 0.05 };
/** Longest a command may take that has 20 MB to move at 5 MB/s and more, in milliseconds. */
const HANG_MS = 90_000;
/** Time a server has to tidy up after the client's success, in milliseconds. */
const TIDY_UP_MS = 5_000;

/** A round that takes longer than this is mentioned. */
const SLOW_SECONDS = 15;

const VICTIMS = ["sender", "receiver", "both"];
const totals = { seed: Number(values.seed), rounds: 0, failed: 0 };
const counts = { push: 0, pull: 0, files: 0, trees: 0, hitRunning: 0, resumed: 0, wasComplete: 0 };
for (const victim of VICTIMS) counts[victim] = 0;
let mostResentBytes = 0;
let unverifiedBytes = 0;
let slowestSeconds = 0;
const begin = performance.now();
const untilMs = values.for === undefined ? Number.POSITIVE_INFINITY : begin + Number(values.for) * 1_000;
let endedBy;
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => (endedBy = signal));

/** Commands of the round that still run. */
const running = new Set();

/** A godwit command; its JSON lines are kept. */
class Command {
  events = [];
  stderr = "";
  #text = "";
  #waiting = [];

  constructor(scene, who, args) {
    const env = { PATH: process.env.PATH, HOME: scene, GODWIT_HOME: join(scene, `home-${who}`) };
    this.child = spawn(process.execPath, [MAIN, ...args, "--json"], { cwd: scene, env });
    running.add(this);
    this.child.stdout.on("data", (part) => this.#read(String(part)));
    this.child.stderr.on("data", (part) => (this.stderr += String(part)));
    this.ended = new Promise((resolve) => {
      this.child.on("close", (status, signal) => {
        running.delete(this);
        for (const { done } of this.#waiting) done(undefined);
        resolve({ status, signal });
      });
    });
  }

  /** The first event of this name; `undefined` if the command ends without it. */
  event(name) {
    const past = this.events.find(({ event }) => event === name);
    if (past !== undefined || this.child.exitCode !== null) return Promise.resolve(past);
    return new Promise((done) => this.#waiting.push({ name, done }));
  }

  /** Verified bytes of the last progress line. */
  get verifiedBytes() {
    return this.events.findLast(({ event }) => event === "progress")?.verifiedBytes ?? 0;
  }

  #read(part) {
    this.#text += part;
    for (let end = this.#text.indexOf("\n"); end >= 0; end = this.#text.indexOf("\n")) {
      const event = JSON.parse(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 1);
      this.events.push(event);
      for (const { name, done } of this.#waiting) if (name === event.event) done(event);
    }
  }
}

/** The command's end, or a failure if it hangs. */
async function end(command, what) {
  const hang = new AbortController();
  const hung = sleep(HANG_MS, "hung", { signal: hang.signal }).catch(() => undefined);
  const ended = await Promise.race([command.ended, hung]);
  hang.abort();
  if (ended === "hung") throw new Error(`${what} hangs: ${command.stderr}`);
  return ended;
}

/** All files below a directory with their SHA-256, by path. */
function tree(directory) {
  const found = new Map();
  if (!existsSync(directory)) return found;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found.set(relative(directory, path), createHash("sha256").update(readFileSync(path)).digest("hex"));
  }
  return found;
}

/** Whether two trees are the same; leftovers of godwit count or not. */
function isSame(expected, found, ignoresOwn) {
  const names = [...found.keys()].filter((name) => !ignoresOwn || !/(^|\/)\.godwit/.test(name));
  return names.length === expected.size && names.every((name) => expected.get(name) === found.get(name));
}

/** Writes a file or a tree of 8 to 20 MB; returns its bytes. */
function plant(random, directory, isTree) {
  const totalBytes = random.integer(8_000_000, 20_000_000);
  mkdirSync(directory);
  if (!isTree) {
    writeFileSync(join(directory, "big.bin"), random.bytes(new Uint8Array(totalBytes)));
    return totalBytes;
  }
  const files = random.integer(5, 60);
  let bytes = 0;
  for (let i = 0; i < files; i++) {
    const folder = join(directory, "data", `folder-${i % 4}`);
    mkdirSync(folder, { recursive: true });
    const size = Math.floor((random.float() * 2 * totalBytes) / files);
    writeFileSync(join(folder, `file-${i}.bin`), random.bytes(new Uint8Array(size)));
    bytes += size;
  }
  return bytes;
}

/** One kill and what follows. Throws what is wrong. */
async function round(seed, victim, scene) {
  const random = new SeededRandom(seed, "soak-kill");
  const isPull = random.chance(0.5);
  const isTree = random.chance(0.5);
  const name = isTree ? "data" : "big.bin";
  const totalBytes = plant(random, join(scene, "source"), isTree);
  mkdirSync(join(scene, "inbox"));
  counts[isPull ? "pull" : "push"] += 1;
  counts[isTree ? "trees" : "files"] += 1;
  counts[victim] += 1;

  const secondsLong = 0.5 + 1.5 * random.float();
  const rate = `${Math.ceil((totalBytes * 8) / secondsLong / 1e6)}mbit`;
  const startServer = async (port) => {
    const more = isPull ? ["source", "--rate", rate] : ["inbox"];
    const server = new Command(scene, "server", [
      "serve",
      ...more,
      "--listen",
      `127.0.0.1:${port}`,
      "--open",
    ]);
    const listening = await server.event("listening");
    if (listening === undefined) throw new Error(`no server: ${server.stderr}`);
    return { server, port: listening.port };
  };
  let { server, port } = await startServer(0);
  const address = `127.0.0.1:${port}`;
  const args = isPull
    ? ["get", `${address}/${name}`, "--into", "inbox", "--accept-new"]
    : ["send", join("source", name), "--to", address, "--accept-new", "--rate", rate];
  if (random.chance(0.5)) args.push("--update");

  // From before the first packet to some time after the last.
  const killAtMs = random.float() * (secondsLong * 1_000 + 500);
  const first = new Command(scene, "client", args);
  await Promise.race([first.event(random.chance(0.1) ? "handshake-started" : "file-started"), first.ended]);
  await sleep(killAtMs);
  const wasRunning = first.child.exitCode === null;
  if (wasRunning) counts.hitRunning += 1;
  const isServer = (side) => (side === "sender") === isPull;
  const isHit = (side) => victim === side || victim === "both";
  const killsServer = ["sender", "receiver"].some((side) => isHit(side) && isServer(side));
  const killsClient = ["sender", "receiver"].some((side) => isHit(side) && !isServer(side));
  if (killsServer) server.child.kill("SIGKILL");
  if (killsClient) first.child.kill("SIGKILL");
  if (killsServer) await server.ended;
  // The one who is left is ended as a user would: with Ctrl-C.
  if (!killsClient && first.child.exitCode === null) first.child.kill("SIGINT");
  await end(first, "the first command");
  // What the receiver had said it holds; its last word may be a progress interval old.
  const verifiedBytes = Math.max(first.verifiedBytes, server.verifiedBytes);

  const expected = tree(join(scene, "source"));
  const held = tree(join(scene, "inbox"));
  for (const [path, hash] of held) {
    const isOwn = /(^|\/)\.godwit/.test(path);
    if (!isOwn && expected.get(path) !== hash) throw new Error(`${path} is visible and wrong`);
  }
  const wasComplete = isSame(expected, held, true);
  if (wasComplete) counts.wasComplete += 1;

  if (killsServer) ({ server, port } = await startServer(port));
  const again = new Command(scene, "client", args);
  const { status } = await end(again, "the second command");
  const result = again.events.findLast(({ event }) => event === "result");
  const isRefused = status === 9 && wasComplete && !args.includes("--update");
  if (status !== 0 && !isRefused) throw new Error(`the second command ended with ${status}: ${again.stderr}`);
  if (status === 0 && !wasComplete) {
    const resentBytes = totalBytes - result.resumedBytes;
    const missingBytes = totalBytes - verifiedBytes;
    const mostBytes = missingBytes + RESENT_MAX.bytes + RESENT_MAX.fraction * totalBytes;
    if (resentBytes > mostBytes) throw new Error(`${resentBytes} sent again, ${missingBytes} were missing`);
    mostResentBytes = Math.max(mostResentBytes, resentBytes - missingBytes);
    unverifiedBytes += missingBytes;
    if (result.resumedBytes > 0) counts.resumed += 1;
  }
  const tidyUntilMs = performance.now() + TIDY_UP_MS;
  while (!isSame(expected, tree(join(scene, "inbox")), isRefused)) {
    if (performance.now() > tidyUntilMs) {
      const names = [...tree(join(scene, "inbox")).keys()].filter((path) => !expected.has(path));
      throw new Error(`not the same afterwards; too many: ${names.join(", ")}`);
    }
    await sleep(100);
  }
  server.child.kill("SIGTERM");
  await end(server, "the server");
}

rounds: for (let i = 0; i < Number(values.count); i++) {
  for (const victim of VICTIMS.filter((each) => values.only === undefined || each === values.only)) {
    if (endedBy === undefined && performance.now() > untilMs) endedBy = "limit";
    if (endedBy !== undefined) break rounds;
    const seed = totals.seed + i;
    const scene = mkdtempSync(join(tmpdir(), "godwit-kill-"));
    totals.rounds += 1;
    const beginMs = performance.now();
    try {
      await round(seed, victim, scene);
    } catch (error) {
      totals.failed += 1;
      console.log(`seed ${seed}, ${victim}: ${error.message}`);
      console.log(`  again: npm run soak:kill -- --count 1 --seed ${seed} --only ${victim}`);
    }
    const left = [...running];
    for (const command of left) command.child.kill("SIGKILL");
    await Promise.all(left.map(({ ended }) => ended));
    rmSync(scene, { recursive: true, force: true });
    const seconds = Math.round((performance.now() - beginMs) / 1_000);
    if (seconds > SLOW_SECONDS) console.error(`seed ${seed}, ${victim}: took ${seconds} s`);
    slowestSeconds = Math.max(slowestSeconds, seconds);
  }
}
const seconds = Math.round((performance.now() - begin) / 1_000);
console.log(
  JSON.stringify({
    ...totals,
    ...counts,
    mostResentBytes,
    unverifiedBytes,
    slowestSeconds,
    seconds,
    ...(endedBy && { endedBy }),
  }),
);
process.exitCode = totals.failed === 0 ? 0 : 1;
