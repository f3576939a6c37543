// End to end on this machine: godwit, native and plain, against what a user would pick instead.
//   npm run bench:loopback -- [--path loopback|veth] [--mib 1024] [--runs 3] [--dir /dev/shm]
//                             [--peers scp,rsync,curl,iperf3] [--no-raw] [--nodes PATH,PATH]
//                             [--reference] [--keep FILE]
// Every run moves one file of random bytes between two processes, alternating the contestants; both
// ends are timed (CPU seconds, peak memory). `--path veth` needs root. Peers that are not installed
// are left out. Received files are compared by hash. `--nodes` adds godwit run by other Node programs,
// so that versions stand side by side in the same rounds. `--reference` is godwit native alone, on the
// running Node and on those of `--nodes`: no plain Node, no peers, no raw loops. `--keep FILE` adds the
// runs to those that FILE has from before and makes the table of all: so runs can be minutes apart.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { conditions, median } from "../table.mjs";
import { contestants, LOOPBACK, SCP, vethPair } from "./contestants.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  path: { type: "string", default: "loopback" },
  mib: { type: "string", default: "1024" },
  runs: { type: "string", default: "3" },
  dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
  peers: { type: "string", default: "scp,rsync,curl,iperf3" },
  "no-raw": { type: "boolean", default: false },
  nodes: { type: "string", default: "" },
  reference: { type: "boolean", default: false },
  keep: { type: "string" },
});
const bytes = Number(values.mib) * 1024 * 1024;
const runs = Number(values.runs);
const directory = mkdtempSync(join(values.dir, "godwit-bench-"));
const path = values.path === "veth" ? vethPair() : LOOPBACK;
const scene = {
  directory,
  path,
  bytes,
  source: join(directory, "source.bin"),
  inbox: join(directory, "inbox"),
};

function makeSource() {
  const file = openSync(scene.source, "w");
  const block = randomBytes(8 * 1024 * 1024);
  for (let left = bytes; left > 0; left -= block.length) {
    block.writeUInt32LE(left % 0xffff_ffff, 0);
    writeSync(file, block, 0, Math.min(block.length, left));
  }
  closeSync(file);
}

async function digest(file) {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file, { highWaterMark: 4 << 20 })) hash.update(part);
  return hash.digest("hex");
}

/** What the disk takes at most, synced: the limit of everything that writes. */
function diskMbit() {
  const started = performance.now();
  const copy = join(directory, "dd.bin");
  execFileSync("dd", [`if=${scene.source}`, `of=${copy}`, "bs=1M", "conv=fsync"], { stdio: "ignore" });
  const seconds = (performance.now() - started) / 1000;
  rmSync(copy);
  return (bytes * 8) / seconds / 1e6;
}

// Loopback carries the largest datagram of IPv4 whole; 1 400 bytes are what an Ethernet path leaves.
const rawBytes = values.path === "veth" ? [1_400] : [65_507, 1_400];
const list = contestants(values.peers.split(","), {
  raw: values["no-raw"] ? [] : rawBytes,
  nodes: values.nodes.split(",").filter((node) => node !== ""),
}).filter(({ name }) => !values.reference || name.startsWith("godwit, native"));
try {
  makeSource();
  const wanted = await digest(scene.source);
  // One round is one run of each contestant, by name, beside what the disk did in the same minute.
  const rounds = [];
  for (let run = 0; run < runs; run++) {
    const round = { disk: diskMbit(), load: loadavg()[0], runs: {} };
    rounds.push(round);
    for (const { name, run: contest } of list) {
      rmSync(scene.inbox, { recursive: true, force: true });
      mkdirSync(scene.inbox);
      let result;
      try {
        result = await contest(scene);
      } catch (error) {
        // A peer that does not run here must not cost the table; godwit has to.
        if (name.startsWith("godwit")) throw error;
        process.stderr.write(`${name}: left out, it failed: ${String(error.message).trim()}\n`);
        continue;
      }
      if (result.file !== undefined) {
        if (statSync(result.file).size !== bytes || (await digest(result.file)) !== wanted)
          throw new Error(`${name}: the file differs`);
      }
      round.runs[name] = result;
      process.stderr.write(`${name}: ${((bytes * 8) / result.seconds / 1e6).toFixed(0)} Mbit/s\n`);
    }
  }
  if (values.keep !== undefined) {
    appendFileSync(values.keep, rounds.map((round) => `${JSON.stringify(round)}\n`).join(""));
    const kept = readFileSync(values.keep, "utf8").trim().split("\n");
    rounds.splice(0, rounds.length, ...kept.map((line) => JSON.parse(line)));
  }
  const gib = bytes / 2 ** 30;
  const [{ name: native }] = list;
  const total = ({ cpu }) => cpu[0] + cpu[1];
  /** How much faster than `other` this one was, in the rounds that have both; undefined when none has. */
  const timesFaster = (name, other) => {
    const shared = rounds.filter(({ runs }) => name in runs && other in runs);
    if (shared.length === 0) return undefined;
    return median(shared.map(({ runs }) => runs[other].seconds / runs[name].seconds));
  };
  const rows = list
    .map(({ name }) => ({ name, shared: rounds.filter(({ runs }) => name in runs && native in runs) }))
    .filter(({ shared }) => shared.length > 0)
    .map(({ name, shared }) => {
      const runs = shared.map((round) => round.runs[name]);
      return {
        name,
        mbit: (bytes * 8) / median(runs.map(({ seconds }) => seconds)) / 1e6,
        best: (bytes * 8) / Math.min(...runs.map(({ seconds }) => seconds)) / 1e6,
        cpu: [0, 1].map((end) => median(runs.map(({ cpu }) => cpu[end])) / gib),
        rss: [0, 1].map((end) => Math.max(...runs.map(({ rss }) => rss[end] ?? NaN))),
        // The machine changes its speed between rounds: each is compared with itself.
        asFast: median(shared.map((round) => round.runs[name].seconds / round.runs[native].seconds)),
        timesScp: timesFaster(name, SCP),
        cpuRatio: median(shared.map((round) => total(round.runs[name]) / total(round.runs[native]))),
      };
    });
  const fileSystem = String(spawnSync("df", ["--output=fstype", values.dir]).stdout)
    .trim()
    .split("\n")
    .at(-1);
  console.log(`### One file of ${values.mib} MiB, ${path.name}, ${fileSystem}\n`);
  console.log(
    `Median of ${rounds.length} alternating runs, process start, hashing and syncing included; ratios are the median of each round's own. ${conditions(median(rounds.map(({ load }) => load)))}`,
  );
  console.log(
    `Copying the file there with \`dd conv=fsync\`: ${median(rounds.map(({ disk }) => disk)).toFixed(0)} Mbit/s.\n`,
  );
  const withScp = rows.some(({ timesScp }) => timesScp !== undefined);
  console.log(
    `| | Mbit/s, median (best) | godwit native is so many times as fast |${withScp ? " times scp's rate |" : ""} CPU s per GiB, sender + receiver | its CPU per byte to godwit native's | peak memory MiB, sender / receiver |`,
  );
  console.log(`|---|---|---|---|---|---|${withScp ? "---|" : ""}`);
  for (const { name, mbit, best, cpu, rss, asFast, timesScp, cpuRatio } of rows)
    console.log(
      `| ${name} | ${mbit.toFixed(0)} (${best.toFixed(0)}) | ${asFast.toFixed(2)} |${withScp ? ` ${timesScp?.toFixed(2) ?? "-"} |` : ""} ${cpu[0].toFixed(2)} + ${cpu[1].toFixed(2)} | ${cpuRatio.toFixed(2)} | ${rss.map((mib) => (Number.isNaN(mib) ? "-" : mib.toFixed(0))).join(" / ")} |`,
    );
  console.log("");
} finally {
  path.stop();
  rmSync(directory, { recursive: true, force: true });
}
