/**
 * One to many: the figures of bench/results/fleet.md. Needs root for the emulated star.
 *
 *   npm run bench:fleet -- [ROW...]      rows: star relay equal slow loopback memory; all unless named
 *
 * Each row is measured three times, RUNS=1 in the environment makes it once.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { commandLine } from "../../scripts/command-line.mjs";

const { positionals: names } = commandLine(import.meta.filename, {}, true);
const MAIN = resolve(import.meta.dirname, "../../dist/cli/main.js");
const NET = resolve(import.meta.dirname, "../emulator/net.sh");
const RECEIVERS = resolve(import.meta.dirname, "receivers.mjs");
const RUNS = Number(process.env.RUNS ?? 3);
const directory = mkdtempSync("/dev/shm/godwit-fleet-");
const children = new Set();
/** The row that is measured: each has receivers, and keys, of its own. */
let row = "";

function inside(namespace, command, args) {
  return namespace === undefined ? [command, args] : ["ip", ["netns", "exec", namespace, command, ...args]];
}

/** Starts receivers in a namespace and resolves when they listen. */
async function receivers(name, count, host, namespace) {
  const place = join(directory, name);
  mkdirSync(place, { recursive: true });
  const child = spawn(...inside(namespace, process.execPath, [RECEIVERS, place, count, host, 4700]), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.add(child);
  await new Promise((done, fail) => {
    child.stdout.once("data", done);
    child.once("exit", () => fail(new Error(`receivers ${name} ended`)));
  });
  return Array.from({ length: count }, (_, i) => join(place, `in${i}`));
}

/** Sends, and returns the last JSON line with the peak resident memory of the sender in bytes. */
async function send(file, targets, namespace, ...more) {
  const list = join(directory, "targets");
  writeFileSync(list, targets.join("\n"));
  const args = [MAIN, "send", file, "--to", `@${list}`, "--accept-new", "--overwrite", "--json", ...more];
  const child = spawn(...inside(namespace, process.execPath, args), {
    env: { ...process.env, GODWIT_HOME: join(directory, `sender-${row}`) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let last = "";
  let peakBytes = 0;
  const ends = [];
  let text = "";
  child.stdout.on("data", (bytes) => {
    text += bytes;
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      last = line;
      if (line.startsWith('{"event":"receiver-ended"')) ends.push(JSON.parse(line));
    }
  });
  const timer = setInterval(() => {
    try {
      // "ip netns exec" replaces itself by the command: the id is the sender's.
      const found = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"));
      if (found !== null) peakBytes = Math.max(peakBytes, Number(found[1]) * 1024);
    } catch {
      // It has just ended.
    }
  }, 50);
  await new Promise((done) => child.once("close", done));
  clearInterval(timer);
  return { ...JSON.parse(last), peakBytes, ends };
}

function stop() {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
}

function net(...args) {
  const { status, stderr, stdout } = spawnSync(NET, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`net.sh ${args.join(" ")}: ${stdout}${stderr}`);
}

function film(megabytes) {
  const path = join(directory, `film${megabytes}`);
  writeFileSync(path, randomBytes(megabytes * 1_000_000));
  return path;
}

const sha = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

function check(file, inboxes) {
  const wanted = sha(file);
  const name = file.split("/").at(-1);
  for (const inbox of inboxes) {
    if (sha(join(inbox, name)) !== wanted) throw new Error(`${inbox} has other contents`);
    rmSync(join(inbox, name));
  }
}

/** A star with one receiver in each of its namespaces. */
async function star(name, count, uplink, towards) {
  net("star", String(count), uplink, "rate=1000,queue=2000000", towards);
  const inboxes = [];
  for (let i = 1; i <= count; i++) {
    inboxes.push(...(await receivers(`${name}${i}`, 1, `10.77.${i}.1`, `emu${i}`)));
  }
  return { inboxes, targets: inboxes.map((_, i) => `10.77.${i + 1}.1:4700`) };
}

async function repeat(work) {
  const results = [];
  for (let i = 0; i < RUNS; i++) results.push(await work());
  return results;
}

/** 8 receivers behind an uplink of 100 Mbit/s, 50 Mbit/s and 1 % loss each, get 20 MB. */
async function eight(name, ...more) {
  const file = film(20);
  const { inboxes, targets } = await star(
    name,
    8,
    "rate=100,queue=500000",
    "rate=50,queue=500000,loss=1,delay=5",
  );
  const results = await repeat(async () => {
    const result = await send(file, targets, "emu0", ...more);
    if (result.exit !== 0) throw new Error(JSON.stringify(result));
    check(file, inboxes);
    return result;
  });
  const seconds = median(results.map((result) => result.seconds));
  return { results, seconds, title: "8 receivers, uplink 100 Mbit/s, 50 Mbit/s and 1 % loss each, 20 MB" };
}

const rows = {
  /** All from the sender: the uplink carries the file eight times. */
  async star() {
    const { results, seconds, title } = await eight("star");
    const ideal = (8 * 20e6 * 8) / 100e6;
    const wire = median(results.map((result) => result.wireBytes)) / (8 * 20e6);
    return `${title}: ${seconds.toFixed(2)} s = ${(seconds / ideal).toFixed(3)} x (8 x file / uplink); UDP payload ${wire.toFixed(3)} x; source read ${results[0].sourceReadBytes} B`;
  },

  /** The same star, and the receivers serve each other. */
  async relay() {
    const { results, seconds, title } = await eight("relay", "--relay");
    const ideal = (20e6 * 8) / 50e6;
    const share = (value) => (median(results.map(value)) / 20e6).toFixed(3);
    return `${title}, --relay: ${seconds.toFixed(2)} s = ${(seconds / ideal).toFixed(2)} x (file / 50 Mbit/s), runs ${results.map((result) => result.seconds.toFixed(2)).join(" ")}; the sender sent ${share(({ relay }) => relay.sentOnceBytes + relay.sentAgainBytes)} x file (UDP payload ${share(({ wireBytes }) => wireBytes)} x), receivers gave each other ${share(({ relay }) => relay.relayedBytes)} x`;
  },

  /** 16 receivers of 5 Mbit/s each against one, behind an uplink that is not the limit. */
  async equal() {
    const file = film(10);
    const { inboxes, targets } = await star(
      "equal",
      16,
      "rate=1000,queue=4000000",
      "rate=5,queue=62500,delay=5",
    );
    const times = { one: [], all: [] };
    let read = 0;
    await repeat(async () => {
      for (const [kind, count] of [
        ["one", 1],
        ["all", 16],
      ]) {
        const result = await send(file, targets.slice(0, count), "emu0");
        if (result.exit !== 0) throw new Error(JSON.stringify(result));
        check(file, inboxes.slice(0, count));
        times[kind].push(result.seconds);
        if (count === 16) read = Math.max(read, result.sourceReadBytes);
      }
    });
    const [one, all] = [median(times.one), median(times.all)];
    return `16 receivers of 5 Mbit/s each, 10 MB: ${all.toFixed(2)} s, one alone ${one.toFixed(2)} s: ${(all / one).toFixed(3)} x; source read ${(read / 10e6).toFixed(3)} x file`;
  },

  /** Four receivers of 20 Mbit/s, with and without one of 0.2 Mbit/s beside them. */
  async slow() {
    const file = film(10);
    const { inboxes, targets } = await star(
      "slow",
      5,
      "rate=1000,queue=4000000",
      "rate=20,queue=250000,delay=5",
    );
    const link = spawn(
      ...inside("emu5", process.execPath, [
        MAIN,
        "link",
        "10.77.5.1:4800",
        "10.77.5.1:4700",
        "--rate",
        "200kbit",
      ]),
      { stdio: "ignore" },
    );
    children.add(link);
    const four = targets.slice(0, 4);
    const times = { without: [], beside: [] };
    await repeat(async () => {
      const without = await send(file, four, "emu0");
      check(file, inboxes.slice(0, 4));
      times.without.push(Math.max(...without.ends.map(({ seconds }) => seconds)));
      const beside = await send(file, ["10.77.5.1:4800", ...four], "emu0", "--quorum", "4");
      check(file, inboxes.slice(0, 4));
      const fast = beside.ends.filter(({ result }) => result === "verified");
      if (fast.length !== 4) throw new Error(JSON.stringify(beside));
      times.beside.push(Math.max(...fast.map(({ seconds }) => seconds)));
    });
    const [without, beside] = [median(times.without), median(times.beside)];
    return `four receivers of 20 Mbit/s, 10 MB: ${without.toFixed(2)} s; beside one of 0.2 Mbit/s ${beside.toFixed(2)} s: ${(beside / without).toFixed(3)} x`;
  },

  /** 16 receivers on this machine as fast as it goes. */
  async loopback() {
    const file = film(50);
    const inboxes = [];
    for (let i = 0; i < 4; i++) inboxes.push(...(await receivers(`loop${i}`, 4, `127.0.0.${i + 1}`)));
    const targets = inboxes.map((_, i) => `127.0.0.${Math.floor(i / 4) + 1}:${4700 + (i % 4)}`);
    const times = { one: [], all: [] };
    let read = 0;
    await repeat(async () => {
      for (const [kind, count] of [
        ["one", 1],
        ["all", 16],
      ]) {
        const result = await send(file, targets.slice(0, count));
        if (result.exit !== 0) throw new Error(JSON.stringify(result));
        check(file, inboxes.slice(0, count));
        times[kind].push(result.seconds);
        if (count === 16) read = Math.max(read, result.sourceReadBytes);
      }
    });
    const [one, all] = [median(times.one), median(times.all)];
    const rate = (count, seconds) => ((count * 50e6 * 8) / seconds / 1e6).toFixed(0);
    return `16 receivers on loopback, 50 MB: ${all.toFixed(2)} s (${rate(16, all)} Mbit/s together), one ${one.toFixed(2)} s (${rate(1, one)} Mbit/s): ${(all / one).toFixed(2)} x; source read ${(read / 50e6).toFixed(3)} x file`;
  },

  /** 64 lanes at once: peak memory of the sender. */
  async memory() {
    const file = film(100);
    const inboxes = [];
    for (let i = 0; i < 8; i++) inboxes.push(...(await receivers(`mem${i}`, 8, `127.0.0.${i + 1}`)));
    const targets = inboxes.map((_, i) => `127.0.0.${Math.floor(i / 8) + 1}:${4700 + (i % 8)}`);
    const result = await send(file, targets, undefined, "--rate", process.env.MEMORY_RATE ?? "1600mbit");
    if (result.exit !== 0) throw new Error(JSON.stringify(result.peers.filter(({ exit }) => exit !== 0)));
    check(file, inboxes);
    return `64 lanes, 100 MB: peak resident memory of the sender ${(result.peakBytes / 2 ** 20).toFixed(0)} MiB, ${result.seconds.toFixed(1)} s; source read ${(result.sourceReadBytes / 100e6).toFixed(3)} x file`;
  },
};

const usesNet = new Set(["star", "relay", "equal", "slow"]);
console.log(`${cpus().length} x ${cpus()[0]?.model}, node ${process.version}, ${RUNS} runs, medians`);
try {
  for (const name of names.length > 0 ? names : Object.keys(rows)) {
    row = name;
    const before = loadavg()[0].toFixed(1);
    console.log(`${name}: ${await rows[name]()} (load ${before})`);
    stop();
    if (usesNet.has(name)) net("down");
  }
} finally {
  stop();
  if (names.length === 0 || names.some((name) => usesNet.has(name))) spawnSync(NET, ["down"]);
  rmSync(directory, { recursive: true, force: true });
}
