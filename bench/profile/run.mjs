// Where the time of a transfer goes: both ends under Node's sampling profiler, self time by what it
// is spent on, and per packet.
//   node bench/profile/run.mjs [--path veth|loopback] [--mib 1024] [--plain] [--top 15] [--dir /dev/shm]
// A sample counts wall time: a thread that the kernel took off its core shows where it was then. So the
// figures are only good on a quiet machine; `--path veth` needs root.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { LOOPBACK, vethPair } from "../end-to-end/contestants.mjs";
import { conditions } from "../table.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  path: { type: "string", default: "veth" },
  mib: { type: "string", default: "1024" },
  plain: { type: "boolean", default: false },
  top: { type: "string", default: "15" },
  dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
});
// The modules, not their bundle: samples are told apart by file.
const main = resolve(import.meta.dirname, "../../dist/cli/program.js");

/** What a function's self time is spent on. */
function purpose(name, url) {
  const file = url.split("/dist/")[1] ?? "";
  if (name === "(idle)") return "idle";
  if (name === "(garbage collector)") return "garbage collection";
  if (["read", "writeBuffer", "fdatasync", "fsync", "fstat"].includes(name)) return "disk calls";
  if (file.startsWith("node/hash")) return "BLAKE3";
  if (/packet-key/.test(file) || /crypto\/cipher|crypto\/keys/.test(url)) return "AEAD";
  if (file.startsWith("node/sockets") || /node:dgram/.test(url)) return "socket calls";
  if (name === "takePiece" && file.startsWith("transfer/piece-queue")) return "copying file data";
  if (name === "addPart") return "copying file data";
  if (/^(transport|wire|base)\//.test(file)) return "JavaScript: transport, wire, base";
  if (/^(transfer|files|events)\//.test(file)) return "JavaScript: transfer, files, events";
  if (file !== "") return "JavaScript: edge, library, command line";
  return "Node itself, mostly its start";
}

function report(title, file, packets) {
  const profile = JSON.parse(readFileSync(file, "utf8"));
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const groups = new Map();
  const functions = new Map();
  let total = 0;
  for (const [i, id] of profile.samples.entries()) {
    const { functionName, url, lineNumber } = nodes.get(id);
    const us = profile.timeDeltas[i];
    const group = purpose(functionName, url);
    const place = url.split("/dist/")[1] ?? url.split("/").slice(-2).join("/");
    const key = `${functionName || "(anonymous)"} ${place}${place === "" ? "" : `:${lineNumber + 1}`}`;
    groups.set(group, (groups.get(group) ?? 0) + us);
    functions.set(key, (functions.get(key) ?? 0) + us);
    total += us;
  }
  const sorted = (map) => [...map].toSorted((a, b) => b[1] - a[1]);
  console.log(`${title}: ${(total / 1000).toFixed(0)} ms, ${packets} packets of data\n`);
  console.log("| self time in | ms | of all | µs per packet |\n|---|---|---|---|");
  for (const [group, us] of sorted(groups))
    console.log(
      `| ${group} | ${(us / 1000).toFixed(0)} | ${((100 * us) / total).toFixed(1)} % | ${(us / packets).toFixed(2)} |`,
    );
  console.log("");
  for (const [name, us] of sorted(functions).slice(0, Number(values.top)))
    console.log(`    ${(us / 1000).toFixed(0).padStart(6)} ms  ${name}`);
  console.log("");
}

const scene = mkdtempSync(join(values.dir, "godwit-profile-"));
const path = values.path === "veth" ? vethPair() : LOOPBACK;
try {
  const source = join(scene, "source.bin");
  for (let left = Number(values.mib); left > 0; left -= 64)
    appendFileSync(source, randomBytes(Math.min(left, 64) * 2 ** 20));
  mkdirSync(join(scene, "inbox"));
  const env = { ...process.env, GODWIT_NATIVE: values.plain ? "0" : "1" };
  const node = (place, name, words) => {
    const profile = ["--cpu-prof", `--cpu-prof-dir=${join(scene, name)}`, "--cpu-prof-interval", "500"];
    const line = [
      ...place,
      process.execPath,
      ...profile,
      main,
      ...words,
      "--json",
      "--home",
      join(scene, `${name}-home`),
    ];
    return spawn(line[0], line.slice(1), { stdio: ["ignore", "pipe", "inherit"], env });
  };
  const listen = ["serve", join(scene, "inbox"), "--listen", `${path.address}:0`, "--open", "--once"];
  const server = node(path.receiver, "server", listen);
  const port = await new Promise((done) =>
    server.stdout.once("data", (line) => done(JSON.parse(String(line).split("\n")[0]).port)),
  );
  server.stdout.resume();
  const client = node(path.sender, "client", [
    "send",
    source,
    "--to",
    `${path.address}:${port}`,
    "--accept-new",
  ]);
  let text = "";
  client.stdout.on("data", (part) => (text += part));
  const ended = (child) => new Promise((done) => child.once("close", done));
  await Promise.all([ended(client), ended(server)]);
  const result = JSON.parse(text.trim().split("\n").at(-1));
  const { datagramBytes, wireBytes } = result.path;
  const packets = Math.round(wireBytes / datagramBytes);
  const backend = values.plain ? "plain Node" : "native";
  console.log("### Where the time goes\n");
  console.log(
    `${backend}, ${path.name}, datagrams of ${datagramBytes} bytes, ${((result.bytes * 8) / result.seconds / 1e6).toFixed(0)} Mbit/s under the profiler. ${conditions()}\n`,
  );
  for (const [title, name] of [
    ["Sender", "client"],
    ["Receiver", "server"],
  ])
    report(title, join(scene, name, readdirSync(join(scene, name))[0]), packets);
} finally {
  path.stop();
  rmSync(scene, { recursive: true, force: true });
}
