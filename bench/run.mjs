// Every benchmark, one after the other: prints the tables and keeps them in bench/results/.
//   npm run bench -- [--quick] [--only raw,loopback,veth,disk,micro,parallel,sizes,latency,profile]
// The whole takes about a quarter of an hour on a quiet machine; `--quick` moves less. veth and the
// profile of it need root and are left out without.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { quick: { type: "boolean", default: false }, only: { type: "string", default: "" } },
});
const isRoot = process.getuid?.() === 0;
const mib = values.quick ? "256" : "1024";
const JOBS = {
  raw: ["raw/run.mjs", "--seconds", values.quick ? "1" : "2"],
  loopback: ["end-to-end/loopback.mjs", "--mib", mib],
  veth: isRoot ? ["end-to-end/loopback.mjs", "--path", "veth", "--mib", mib] : undefined,
  // Only where the other runs were not on the disk already.
  disk: existsSync("/dev/shm") ? ["end-to-end/loopback.mjs", "--mib", mib, "--dir", tmpdir()] : undefined,
  micro: ["micro/run.mjs"],
  parallel: ["scale/parallel.mjs", "--mib", values.quick ? "512" : "3000"],
  sizes: values.quick
    ? ["scale/sizes.mjs", "--sizes", "1K,64M", "--files", "1000"]
    : ["scale/sizes.mjs", "--sizes", "1K,1M,64M,1G,4G", "--files", "1000,10000,100000"],
  latency: ["scale/latency.mjs"],
  profile: isRoot
    ? ["profile/run.mjs", "--mib", mib]
    : ["profile/run.mjs", "--mib", mib, "--path", "loopback"],
};

/** The raw loops print JSON: the same as a table. */
function rawTable(text) {
  const { results, cpu, node } = JSON.parse(text);
  const rows = results.map((one) => {
    const { name, datagramBytes, gbitPerSecond, senderUsPerPacket, receiverUsPerPacket } = one;
    const us = `${senderUsPerPacket.toFixed(2)} / ${receiverUsPerPacket.toFixed(2)}`;
    return `| ${name} | ${datagramBytes} | ${(gbitPerSecond * 1_000).toFixed(0)} | ${us} |`;
  });
  return [
    "### Raw loops on loopback: no transport, no hash, no disk\n",
    `${cpu}, Node ${node}.\n`,
    "| loop | datagram bytes | payload Mbit/s | CPU µs per packet, sender / receiver |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

const wanted = values.only === "" ? Object.keys(JOBS) : values.only.split(",");
const directory = join(import.meta.dirname, "results");
mkdirSync(directory, { recursive: true });
let failed = false;
for (const name of wanted) {
  const job = JOBS[name];
  if (job === undefined) {
    process.stderr.write(`${name}: not on this machine, or not without root\n`);
    continue;
  }
  process.stderr.write(`${name}...\n`);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, job[0]), ...job.slice(1)],
    { encoding: "utf8", maxBuffer: 2 ** 26 },
  );
  if (status !== 0) {
    process.stderr.write(`${name} failed:\n${stderr}\n`);
    failed = true;
    continue;
  }
  const table = name === "raw" ? rawTable(stdout) : stdout;
  console.log(table);
  if (!values.quick) writeFileSync(join(directory, `${name}.md`), table);
}
process.exitCode = failed ? 1 : 0;
