// Many senders at once to one `serve`: does the sum hold, and does each get its share?
//   node bench/scale/parallel.mjs [--mib 4000] [--counts 1,10,100] [--processes 1] [--rounds 1] [--stagger 0] [--dir /dev/shm]
// The same number of bytes in each row, divided among the senders, so that rows compare. The senders
// live in one process, as the single one does, or in a few: each has to warm up, and a hundred Node
// processes would measure the start of Node. They begin `stagger` milliseconds apart, all at once unless
// given. With rounds, rows take turns, and medians are shown: the speed of a shared machine changes.
import { fork, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { commandLine } from "../../scripts/command-line.mjs";
import { conditions, median } from "../table.mjs";

const { values } = commandLine(import.meta.filename, {
  mib: { type: "string", default: "4000" },
  counts: { type: "string", default: "1,10,100" },
  processes: { type: "string", default: "1" },
  rounds: { type: "string", default: "1" },
  stagger: { type: "string", default: "0" },
  dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
});
const total = Number(values.mib) * 1024 * 1024;
const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const scene = mkdtempSync(join(values.dir, "godwit-scale-"));
const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill();
  rmSync(scene, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** Datagrams that found the receiver's buffer full, on the whole machine. */
function kernelDrops() {
  const lines = readFileSync("/proc/net/snmp", "latin1").split("\n");
  const [names, counts] = lines.filter((line) => line.startsWith("Udp: ")).map((line) => line.split(" "));
  return Number(counts[names.indexOf("RcvbufErrors")]);
}

/** Whether two files have the same bytes. In blocks: Node reads no file of 2 GiB at once. */
function isSame(left, right) {
  const files = [openSync(left), openSync(right)];
  const blocks = files.map(() => Buffer.allocUnsafe(2 ** 22));
  try {
    for (;;) {
      const [a, b] = files.map((file, i) => blocks[i].subarray(0, readSync(file, blocks[i])));
      if (!a.equals(b)) return false;
      if (a.length === 0) return true;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** Memory that a virtual machine touches for the first time costs its host's time, too: not while a row is measured. */
function touchMemory() {
  const ballast = join(scene, "ballast.bin");
  const block = Buffer.alloc(2 ** 24);
  for (let left = total; left > 0; left -= block.length) appendFileSync(ballast, block);
  rmSync(ballast);
}

async function measure(count) {
  const each = Math.floor(total / count);
  const source = join(scene, "source.bin");
  writeFileSync(source, randomBytes(Math.min(each, 2 ** 26)));
  for (let left = each - 2 ** 26; left > 0; left -= 2 ** 26)
    appendFileSync(source, randomBytes(Math.min(left, 2 ** 26)));
  touchMemory();
  const inbox = join(scene, "inbox");
  rmSync(inbox, { recursive: true, force: true });
  mkdirSync(inbox);
  const homes = mkdtempSync(join(scene, "homes-"));
  const server = spawn(
    process.execPath,
    [main, "serve", inbox, "--listen", "127.0.0.1:0", "--open", "--json", "--home", join(scene, "server")],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  children.add(server);
  const port = await new Promise((done) =>
    server.stdout.once("data", (line) => done(JSON.parse(String(line).split("\n")[0]).port)),
  );
  server.stdout.resume();
  const usage = () => {
    const stat = readFileSync(`/proc/${server.pid}/stat`, "latin1").split(") ")[1].split(" ");
    const status = readFileSync(`/proc/${server.pid}/status`, "latin1");
    return {
      // Fields 14 and 15 of proc(5): user and system time in hundredths of a second.
      cpu: (Number(stat[11]) + Number(stat[12])) / 100,
      rssMib: Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1024,
    };
  };
  const processes = Math.min(Number(values.processes), count);
  const before = usage();
  const dropsBefore = kernelDrops();
  const started = Date.now();
  const answers = await Promise.all(
    Array.from({ length: processes }, (_, p) => {
      const child = fork(join(import.meta.dirname, "clients.mjs"));
      children.add(child);
      const numbers = Array.from({ length: count }, (_, n) => n).filter((n) => n % processes === p);
      child.send({ numbers, port, source, homes, staggerMs: Number(values.stagger) });
      return new Promise((done, fail) => {
        child.once("message", done);
        child.once("exit", (code) => code !== 0 && fail(new Error(`a sender process ended with ${code}`)));
      });
    }),
  );
  const ended = Date.now();
  const after = usage();
  const drops = kernelDrops() - dropsBefore;
  server.kill("SIGTERM");
  await new Promise((done) => server.once("close", done));
  children.clear();
  for (let n = 0; n < count; n++)
    if (!isSame(source, join(inbox, `c${n}`, "source.bin"))) throw new Error(`c${n} differs`);
  const times = answers.flatMap(({ results }) => results);
  const seconds = (ended - started) / 1000;
  const durations = times.map(({ firstMs, ended: end }) => (end - firstMs) / 1000);
  const slowest = Math.max(...durations);
  const first = Math.min(...times.map(({ firstMs }) => firstMs));
  const last = Math.max(...times.map(({ ended: end }) => end));
  const packets = times.reduce((sum, one) => sum + one.packets, 0);
  return {
    count,
    lost: times.reduce((sum, one) => sum + one.lossFraction * one.packets, 0) / packets,
    packets,
    drops,
    wholeSeconds: (last - first) / 1000,
    mbit: (each * count * 8) / seconds / 1e6,
    busyMbit: (each * count * 8) / ((last - first) / 1000) / 1e6,
    slowest,
    fastest: Math.min(...durations),
    median: median(durations),
    serverCpu: (after.cpu - before.cpu) / ((each * count) / 2 ** 30),
    clientCpu:
      answers.reduce((sum, { cpu }) => sum + (cpu.user + cpu.system) / 1e6, 0) / ((each * count) / 2 ** 30),
    serverRss: after.rssMib,
    clientRss: Math.max(...answers.map(({ rss }) => rss / 1024)),
  };
}

/** The median of each figure of a row over all rounds. */
function medians(rows) {
  const figures = Object.keys(rows[0]).map((name) => [name, median(rows.map((row) => row[name]))]);
  return Object.fromEntries(figures);
}

const load = loadavg()[0];
try {
  const counts = values.counts.split(",").map(Number);
  const rounds = counts.map(() => []);
  for (let round = 0; round < Number(values.rounds); round++) {
    const rows = [];
    for (const count of counts) rows.push(await measure(count));
    for (const [i, row] of rows.entries()) {
      row.ofOne = row.busyMbit / rows[0].busyMbit;
      row.ofFair = row.slowest / rows[0].wholeSeconds;
      row.cpuOfOne = (row.serverCpu + row.clientCpu) / (rows[0].serverCpu + rows[0].clientCpu);
      rounds[i].push(row);
    }
  }
  console.log(
    `### Many senders at once\n\n${values.mib} MiB divided among the senders, in ${values.processes} processes at most; one server on loopback, ${values.dir}; senders begin ${values.stagger} ms apart; medians of ${values.rounds} rounds. ${conditions(load)} "Of one": as a share of the first row. "Of fair": the slowest sender's time, as a share of the time that the first row needs for all bytes.\n`,
  );
  console.log(
    "| senders | sum Mbit/s, all in | from the first accepted file to the last receipt | of one | one file takes s: fastest / median / slowest | slowest, of fair | server CPU s per GiB | senders CPU s per GiB | CPU, of one | packets, lost | kernel drops | peak memory MiB, server / a sender process |",
  );
  console.log("|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const row of rounds.map(medians)) {
    const times = `${row.fastest.toFixed(2)} / ${row.median.toFixed(2)} / ${row.slowest.toFixed(2)}`;
    const packets = `${row.packets}, ${(100 * row.lost).toFixed(1)} %`;
    console.log(
      `| ${row.count} | ${row.mbit.toFixed(0)} | ${row.busyMbit.toFixed(0)} | ${row.ofOne.toFixed(2)} | ${times} | ${row.ofFair.toFixed(2)} | ${row.serverCpu.toFixed(2)} | ${row.clientCpu.toFixed(2)} | ${row.cpuOfOne.toFixed(2)} | ${packets} | ${row.drops} | ${row.serverRss.toFixed(0)} / ${row.clientRss.toFixed(0)} |`,
    );
  }
} finally {
  rmSync(scene, { recursive: true, force: true });
}
