// Every benchmark of one machine, one after the other: prints the tables and keeps them in bench/results/.
//   npm run bench -- [--quick] [--only raw,loopback,veth,disk,micro,parallel,sizes,large,latency,profile]
// The whole takes about half an hour on a quiet machine; `--quick` moves less, takes about five minutes
// and keeps nothing. veth and the profile of it need root and are left out without; `large` needs 34 GB of
// disk. Other benchmarks with a command of their own: bench:paths, bench:fleet, bench:congestion.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandLine } from "../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  quick: { type: "boolean", default: false },
  only: { type: "string", default: "" },
});
const { quick } = values;
const isRoot = process.getuid?.() === 0;
const mib = quick ? "512" : "4096";
const runs = quick ? "1" : "3";
// A directory that is on a disk where /tmp need not be.
const disk = existsSync("/var/tmp") ? "/var/tmp" : tmpdir();
const { bavail, bsize } = statfsSync(disk);
const hasRoom = bavail * bsize > 34e9;
const endToEnd = ["end-to-end/loopback.mjs", "--runs", runs];
const JOBS = {
  raw: ["raw/run.mjs", "--seconds", quick ? "1" : "2", "--rounds", runs],
  loopback: [...endToEnd, "--mib", mib],
  veth: isRoot ? [...endToEnd, "--path", "veth", "--mib", mib] : undefined,
  // Only where the other runs were not on the disk already.
  disk: existsSync("/dev/shm")
    ? [...endToEnd, "--mib", quick ? "512" : "2048", "--dir", disk, "--no-raw"]
    : undefined,
  micro: ["micro/run.mjs"],
  parallel: ["scale/parallel.mjs", "--mib", quick ? "512" : "3000"],
  sizes: quick
    ? ["scale/sizes.mjs", "--sizes", "1K,64M", "--files", "1000"]
    : ["scale/sizes.mjs", "--sizes", "1K,1M,64M,1G,4G", "--files", "1000,10000,100000"],
  large: quick || !hasRoom ? undefined : ["scale/sizes.mjs", "--sizes", "16G", "--files", "", "--dir", disk],
  latency: quick ? ["scale/latency.mjs", "--runs", "2"] : ["scale/latency.mjs"],
  profile: isRoot
    ? ["profile/run.mjs", "--mib", quick ? "256" : "1024"]
    : ["profile/run.mjs", "--mib", quick ? "256" : "1024", "--path", "loopback"],
};

/** The raw loops print JSON: the same as a table. */
function rawTable(text) {
  const { results, cpu, cores, node } = JSON.parse(text);
  const rows = results.map((one) => {
    const { name, datagramBytes, gbitPerSecond, senderUsPerPacket, receiverUsPerPacket } = one;
    const us = `${senderUsPerPacket.toFixed(2)} / ${receiverUsPerPacket.toFixed(2)}`;
    return `| ${name} | ${datagramBytes} | ${(gbitPerSecond * 1_000).toFixed(0)} | ${us} |`;
  });
  return [
    "### Raw loops on loopback: no transport, no hash, no disk\n",
    `${cores} x ${cpu}, Node ${node}.\n`,
    "| loop | datagram bytes | payload Mbit/s | CPU µs per packet, sender / receiver |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

/** Runs a script; what it says about its progress is seen at once. Resolves with its status and output. */
function runScript([script, ...words]) {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  child.stdout.on("data", (part) => (stdout += part));
  return new Promise((done) => child.once("close", (status) => done({ status, stdout })));
}

const wanted = values.only === "" ? Object.keys(JOBS) : values.only.split(",");
const unknown = wanted.find((name) => !Object.hasOwn(JOBS, name));
if (unknown !== undefined) {
  process.stderr.write(`there is no benchmark ${unknown}; there are ${Object.keys(JOBS).join(", ")}\n`);
  process.exit(2);
}
const directory = join(import.meta.dirname, "results");
mkdirSync(directory, { recursive: true });
for (const name of wanted) {
  const job = JOBS[name];
  if (job === undefined) {
    process.stderr.write(`${name}: left out: not on this machine, not without root, or not with --quick\n`);
    continue;
  }
  process.stderr.write(`${name}...\n`);
  const started = performance.now();
  const { status, stdout } = await runScript(job);
  process.stderr.write(`${name}: ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  if (status !== 0) {
    process.stderr.write(`${name} failed\n`);
    process.exitCode = 1;
    continue;
  }
  const table = name === "raw" ? rawTable(stdout) : stdout;
  console.log(table);
  if (!quick) writeFileSync(join(directory, `${name}.md`), table);
}
