// What a person waits for: the program's start, the first byte of a file, one small file, and whole
// transfers on paths with a round trip.
//   node bench/scale/latency.mjs [--runs 5] [--dir /dev/shm]
// The path is `godwit link` between the two ends: it adds delay, rate and loss, and tells what passes.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { send, serve } from "../../dist/index.js";
import { conditions, median } from "../table.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  runs: { type: "string", default: "5" },
  dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
});
const runs = Number(values.runs);
const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const scene = mkdtempSync(join(values.dir, "godwit-latency-"));
const row = (...cells) => console.log(`| ${cells.join(" | ")} |`);

function startMs(words) {
  const started = performance.now();
  spawnSync(process.execPath, words, { stdio: "ignore" });
  return performance.now() - started;
}

function file(name, bytes) {
  const path = join(scene, name);
  rmSync(path, { force: true });
  for (let left = bytes; left > 0; left -= 2 ** 24)
    appendFileSync(path, randomBytes(Math.min(left, 2 ** 24)));
  return path;
}

/** Runs `godwit link`; resolves with its port and how to end it. */
async function link(target, options) {
  const child = spawn(process.execPath, [main, "link", "0", `127.0.0.1:${target}`, ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const line = await new Promise((done) => child.stdout.once("data", done));
  child.stdout.resume();
  return { port: JSON.parse(String(line).split("\n")[0]).port, stop: () => child.kill("SIGTERM") };
}

/** Sends one file to a server in this process through a link; milliseconds of each step. */
async function transfer(source, port) {
  const started = performance.now();
  let firstMs;
  let durableMs;
  const running = send(source, {
    to: `127.0.0.1:${port}/d${Math.random()}`,
    acceptNew: true,
    home: join(scene, "client"),
  });
  for await (const event of running) {
    if (event.type === "file-started") firstMs ??= performance.now() - started;
    if (event.type === "file-committed") durableMs = performance.now() - started;
  }
  const result = await running.result;
  return { firstMs, durableMs, endMs: performance.now() - started, result };
}

try {
  console.log(`### Waiting\n\n${conditions()}\n`);
  row("what", "measured, median", "figure to reach");
  row("---", "---", "---");
  const bare = [];
  const version = [];
  for (let i = 0; i < 2 * runs; i++) {
    bare.push(startMs(["-e", "0"]));
    version.push(startMs([main, "--version"]));
  }
  row(
    "`godwit --version` beyond `node -e 0`",
    `${(median(version) - median(bare)).toFixed(0)} ms (${median(version).toFixed(0)} - ${median(bare).toFixed(0)})`,
    "60 ms",
  );
  mkdirSync(join(scene, "inbox"));
  const server = await serve({
    directory: join(scene, "inbox"),
    listen: "127.0.0.1:0",
    open: true,
    home: join(scene, "server"),
  });
  const { port } = server;
  const small = file("small.bin", 1_024);
  await transfer(small, port);
  const direct = [];
  for (let i = 0; i < runs; i++) direct.push(await transfer(small, port));
  row(
    "loopback, library: 1 KiB durable at a known peer",
    `${median(direct.map(({ durableMs }) => durableMs)).toFixed(0)} ms, of which until its first byte may go ${median(direct.map(({ firstMs }) => firstMs)).toFixed(0)} ms`,
    "-",
  );
  const rttMs = 200;
  const slow = await link(port, ["--delay", `${rttMs / 2}ms`]);
  const delayed = [];
  for (let i = 0; i < runs; i++) delayed.push(await transfer(small, slow.port));
  slow.stop();
  const rounds = (pick) => ((median(delayed.map(pick)) - median(direct.map(pick))) / rttMs).toFixed(1);
  row(
    `${rttMs} ms round trip: first byte of a file`,
    `${rounds(({ firstMs }) => firstMs)} round trips more than on loopback`,
    "2.5 + 50 ms",
  );
  row(
    `${rttMs} ms round trip: 1 KiB durable and known to be`,
    `${rounds(({ durableMs }) => durableMs)} round trips more than on loopback; ${rounds(({ endMs }) => endMs)} until both ends have said goodbye`,
    "3",
  );
  const paths = [
    {
      name: "20 ms, 100 Mbit/s",
      options: ["--delay", "10ms", "--rate", "100mbit"],
      mib: 64,
      figure: "90 Mbit/s",
    },
    {
      name: "80 ms, 50 Mbit/s, 5 % loss",
      options: ["--delay", "40ms", "--rate", "50mbit", "--loss", "5%"],
      mib: 32,
      figure: "20 Mbit/s",
    },
  ];
  for (const { name, options, mib, figure } of paths) {
    const relay = await link(port, options);
    const large = file("large.bin", mib * 2 ** 20);
    const rates = [];
    for (let i = 0; i < Math.min(runs, 3); i++) {
      const { endMs } = await transfer(large, relay.port);
      rates.push((mib * 2 ** 20 * 8) / endMs / 1_000);
    }
    relay.stop();
    row(`${name}: ${mib} MiB`, `${median(rates).toFixed(1)} Mbit/s, start and end included`, figure);
  }
  await server.close();
} finally {
  rmSync(scene, { recursive: true, force: true });
}
process.exit(0);
