// The scoreboard: godwit, and what a user would pick instead, over bad paths.
//   npm run bench:paths -- [--quick | --seconds 30]    the rows of docs/design/paths.md
//   npm run bench:paths -- --grid                      round trip x loss x rate x queue, and the odd ones: hours
//   npm run bench:paths -- --versus [--peers LIST] [--limit 25]     godwit and others, 10 s of data each
//
//   --only TEXT      rows whose name contains it
//   --out FILE       results as JSON, written after each row; --resume goes on with what it holds of this commit
//   --table FILE     the tables as Markdown, written after each row (bench/paths/report.mjs makes them of --out too)
//   --emulator       UDP goes over bench/emulator (root) wherever that can make the path; else over `godwit link`
//   --qlog DIR       a qlog of each sender
//   --peers LIST     of scp,rsync,rsync-bbr,curl,curl-http3,iperf3,uftp,uftp-tfmcc; all unless given
//   --limit N        seconds after which a peer is stopped, and what had arrived counts
//   --dir DIR        where files lie: /dev/shm where there is one
//
// Each run moves one file of random bytes worth so many seconds of the link, verified by hash. What compares with
// TCP always goes over the emulator.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { emulator, firstEvent, hasEmulator, MAIN, relay } from "./links.mjs";
import { PEER_NAMES, peerTransfers } from "./peers.mjs";
import { report, Results, shown, watchStolenTime } from "./report.mjs";
import { capacityBits, FIGURES, grid, VERSUS } from "./scenarios.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  quick: { type: "boolean", default: false },
  grid: { type: "boolean", default: false },
  versus: { type: "boolean", default: false },
  emulator: { type: "boolean", default: false },
  only: { type: "string" },
  peers: { type: "string", default: PEER_NAMES.join(",") },
  limit: { type: "string", default: "25" },
  seconds: { type: "string" },
  qlog: { type: "string" },
  dir: { type: "string", default: fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
  out: { type: "string" },
  table: { type: "string" },
  resume: { type: "boolean", default: false },
});
const peers = values.peers.split(",");
const unknownPeer = peers.find((name) => !PEER_NAMES.includes(name));
if (unknownPeer !== undefined) {
  process.stderr.write(`there is no peer ${unknownPeer}; there are ${PEER_NAMES.join(", ")}\n`);
  process.exit(2);
}
const seconds = Number(values.seconds ?? (values.quick ? 15 : 30));
const scene = fs.mkdtempSync(join(values.dir, "godwit-paths-"));
const inbox = join(scene, "inbox");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const round = (value, digits = 3) => (Number.isFinite(value) ? Number(value.toFixed(digits)) : null);

/** A file of random bytes, with its hash. */
function makeFile(bytes) {
  const path = join(scene, "source.bin");
  const file = fs.openSync(path, "w");
  const hash = createHash("sha256");
  for (let left = bytes; left > 0;) {
    const block = randomBytes(Math.min(left, 8 << 20));
    fs.writeSync(file, block);
    hash.update(block);
    left -= block.length;
  }
  fs.closeSync(file);
  return { path, bytes, sha256: hash.digest("hex") };
}

async function isSame(path, source) {
  if (!fs.existsSync(path) || fs.statSync(path).size !== source.bytes) return false;
  const hash = createHash("sha256");
  for await (const part of fs.createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(part);
  return hash.digest("hex") === source.sha256;
}

let homes = 0;
/** Starts `godwit` with a home of its own, maybe in a namespace; collects its JSON lines with their times. */
function godwit(args, prefix = []) {
  const command = [
    ...prefix,
    process.execPath,
    MAIN,
    ...args,
    "--json",
    "--home",
    join(scene, `home-${homes++}`),
  ];
  const child = spawn(command[0], command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  const events = [];
  let text = "";
  let stderr = "";
  child.stderr.on("data", (part) => (stderr += part));
  child.stdout.on("data", (part) => {
    text += part;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const event = JSON.parse(text.slice(0, end));
      if (["progress", "path-measured", "result"].includes(event.event))
        events.push({ at: performance.now(), ...event });
      text = text.slice(end + 1);
    }
  });
  const startedAt = performance.now();
  const ended = new Promise((done) =>
    child.on("close", (status) =>
      done({ status, stderr, events, wall: (performance.now() - startedAt) / 1_000 }),
    ),
  );
  return { child, events, startedAt, ended };
}

function serve(prefix, host) {
  const server = godwit(["serve", inbox, "--open", "--listen", `${host}:0`], prefix);
  return firstEvent(server.child).then(({ port }) => ({ ...server, port }));
}

const sendArgs = (file, to) => [
  "send",
  file,
  "--to",
  to,
  "--accept-new",
  "--patience",
  "90s",
  ...(values.qlog === undefined ? [] : ["--qlog", values.qlog]),
];

/** The path with godwit's ends on it. */
async function withPath(path, viaEmulator, work) {
  fs.rmSync(inbox, { recursive: true, force: true });
  fs.mkdirSync(inbox);
  if (viaEmulator) {
    const link = emulator(path, scene);
    try {
      const server = await serve(link.far, link.host);
      try {
        return await work(`${link.host}:${server.port}`, link);
      } finally {
        server.child.kill("SIGKILL");
        await server.ended;
      }
    } finally {
      link.stop();
    }
  }
  const server = await serve([], "127.0.0.1");
  const link = await relay(path, server.port);
  let row;
  let counted;
  try {
    row = await work(link.host, link);
  } finally {
    counted = await link.stop();
    server.child.kill("SIGKILL");
    await server.ended;
  }
  // How much later than asked the relay passed datagrams on: what the machine added to the path.
  return {
    ...row,
    relayLateMs: round(counted.lateMeanUs / 1_000, 1),
    relayLateMaxMs: round(counted.lateMaxUs / 1_000, 0),
  };
}

/** One file over one path: goodput as a share of what the link could carry, and what the path report says. */
async function oneFile(path) {
  const viaEmulator = values.emulator && !path.halved && !path.blackout && !path.jitter && !path.burst;
  const source = makeFile(Math.round((path.rate * 1e6 * seconds) / 8));
  return withPath(path, viaEmulator, async (to, link) => {
    const client = godwit(sendArgs(source.path, to), link.near);
    const limit = setTimeout(() => client.child.kill("SIGKILL"), (seconds * 8 + 60) * 1_000);
    const { status, stderr, events, wall } = await client.ended;
    clearTimeout(limit);
    const result = events.findLast(({ event }) => event === "result");
    const isVerified = status === 0 && (await isSame(join(inbox, "source.bin"), source));
    if (!isVerified || result?.path === undefined)
      return { via: link.kind, failed: stderr.trim().slice(-300) || `status ${status}` };
    const report = result.path;
    // The process needs a moment before it dials: that is not the link's.
    const lead = (client.startedAt - link.startedAt) / 1_000 + wall - result.seconds;
    const share = (source.bytes * 8) / capacityBits(path, lead, result.seconds);
    const sent = report.wireBytes / Math.max(report.wireBytes - report.retransmittedBytes, 1);
    const spurious = (report.spuriousPackets * report.datagramBytes) / report.wireBytes;
    const late = events.filter(
      ({ event, at }) => event === "path-measured" && at > client.startedAt + wall * 500,
    );
    const added = late.map(({ report: one }) => one.smoothedRttUs / 1_000 - path.rtt);
    return {
      via: link.kind,
      seconds: round(result.seconds),
      wall: round(wall),
      mbit: round((source.bytes * 8) / result.seconds / 1e6, 1),
      share: round(share),
      lossFraction: round(report.lossFraction, 4),
      sentPerNeeded: round(sent),
      spuriousFraction: round(spurious, 4),
      addedDelayMs: added.length === 0 ? null : round(median(added), 0),
      limit: report.limit,
      busyFraction: round(report.busyFraction, 2),
    };
  });
}

/** Verified bytes at `seconds` after `from`, read off the progress events. */
function bytesAt(events, at) {
  let before = 0;
  for (const event of events) if (event.event === "progress" && event.at <= at) before = event.verifiedBytes;
  return before;
}

/** Several flows, or one beside TCP CUBIC, for a time: what each had once all were running. */
async function sharing(path) {
  if (!hasEmulator) return { failed: "needs the emulator: root on Linux, ip and a C compiler" };
  const source = makeFile(Math.round((path.rate * 1e6 * path.lasts * 1.2) / 8));
  return withPath(path, true, async (to, link) => {
    let tcp;
    let tcpText = "";
    let iperfServer;
    if (path.kind === "cubic") {
      iperfServer = spawn(link.far[0], [...link.far.slice(1), "iperf3", "-s", "-1"], { stdio: "ignore" });
      await pause(500);
      const args = [
        ...link.near.slice(1),
        "iperf3",
        "-c",
        link.host,
        "-t",
        String(path.lasts),
        "-i",
        "1",
        "-J",
      ];
      tcp = spawn(link.near[0], args, { stdio: ["ignore", "pipe", "inherit"] });
      tcp.stdout.on("data", (part) => (tcpText += part));
    }
    const flows = [];
    for (let i = 0; i < (path.flows ?? 1); i++) {
      const copy = join(scene, `flow-${i}.bin`);
      fs.linkSync(source.path, copy);
      flows.push(godwit(sendArgs(copy, to), link.near));
    }
    const startedAt = performance.now();
    const from = startedAt + 5_000;
    const until = startedAt + path.lasts * 1_000 - 1_000;
    await pause(path.lasts * 1_000 - 500);
    const mbit = flows.map(
      ({ events }) => ((bytesAt(events, until) - bytesAt(events, from)) * 8) / (until - from) / 1e3,
    );
    for (const { child } of flows) child.kill("SIGINT");
    await Promise.all(flows.map(({ ended }) => ended));
    for (let i = 0; i < flows.length; i++) fs.rmSync(join(scene, `flow-${i}.bin`));
    const sum = mbit.reduce((total, one) => total + one, 0);
    if (path.kind === "flows") {
      const jain = sum ** 2 / (mbit.length * mbit.reduce((total, one) => total + one ** 2, 0));
      return {
        via: "emulator",
        mbit: mbit.map((one) => round(one, 1)),
        share: round(sum / path.rate),
        jain: round(jain),
      };
    }
    if (tcp.exitCode === null) await new Promise((done) => tcp.on("close", done));
    iperfServer.kill();
    const intervals = JSON.parse(tcpText).intervals.slice(5, path.lasts - 1);
    const tcpMbit =
      intervals.reduce((total, one) => total + one.sum.bits_per_second, 0) / intervals.length / 1e6;
    return {
      via: "emulator",
      mbit: round(sum, 1),
      tcpMbit: round(tcpMbit, 1),
      ofBoth: round(sum / (sum + tcpMbit)),
      share: round((sum + tcpMbit) / path.rate),
    };
  });
}

/** Many connections, one after the other: how many are made, and how long the handshake took. */
async function handshakes(path) {
  const { send } = await import("../../dist/index.js");
  const file = join(scene, "tiny");
  fs.writeFileSync(file, "x");
  return withPath(path, false, async (to) => {
    const took = [];
    for (let i = 0; i < path.count; i++) {
      fs.rmSync(join(inbox, "tiny"), { force: true });
      const transfer = send(file, { to, acceptNew: true, home: join(scene, "home-handshakes") });
      for await (const event of transfer)
        if (event.type === "handshake-completed") took.push(event.tookUs / 1e6);
      await transfer.result.catch(() => undefined);
    }
    return {
      via: "relay",
      connected: took.length,
      medianSeconds: round(median(took)),
      maxSeconds: round(Math.max(...took)),
    };
  });
}

/** Which goals a row reaches: `true`, `false`, or `null` where none is set. */
function verdict(path, row) {
  if (row.failed !== undefined) return false;
  const checks = [];
  if (path.goal !== undefined) checks.push(row.share >= path.goal);
  if (path.maxSent !== undefined) checks.push(row.sentPerNeeded <= path.maxSent);
  if (path.maxLoss !== undefined) checks.push(row.lossFraction <= path.maxLoss);
  if (path.maxSpurious !== undefined) checks.push(row.spuriousFraction <= path.maxSpurious);
  if (path.maxAddedMs !== undefined) checks.push(row.addedDelayMs <= path.maxAddedMs);
  if (path.kind === "cubic") checks.push(row.ofBoth >= 1 / 3 && row.ofBoth <= 2 / 3);
  if (path.kind === "flows") checks.push(row.jain >= 0.95 && row.share >= 0.93);
  if (path.kind === "handshakes") checks.push(row.connected === path.count && row.medianSeconds <= 1.5);
  return checks.length === 0 ? null : checks.every(Boolean);
}

/** godwit and what a user would pick instead, one after the other. */
async function versus(path) {
  if (!hasEmulator) return { failed: "needs the emulator: root on Linux, ip and a C compiler" };
  const source = makeFile(Math.round((path.rate * 1e6 * Math.min(seconds, 10)) / 8));
  const start = (file, link, server) => godwit(sendArgs(file.path, `${link.host}:${server.port}`), link.near);
  return {
    via: "emulator",
    peers: await peerTransfers(path, source, {
      names: peers,
      limit: Number(values.limit),
      inbox,
      scene,
      isSame,
      godwit: start,
      serve,
    }),
  };
}

const RUNS = { handshakes, flows: sharing, cubic: sharing, versus };
const kind = values.grid ? "grid" : values.versus ? "versus" : "figures";
const scenarios = { grid: grid(), versus: VERSUS, figures: FIGURES }[kind];
const wanted = scenarios.filter(({ name }) => name.includes(values.only ?? ""));
const results = new Results(kind, kind === "versus" ? Math.min(seconds, 10) : seconds, values);
try {
  for (const path of wanted.filter(({ name }) => !results.has(name))) {
    const load = loadavg()[0];
    const stolenShare = watchStolenTime();
    let row;
    try {
      row = await (RUNS[path.kind] ?? oneFile)(path);
    } catch (error) {
      row = { failed: String(error) };
    }
    const isReached = verdict(path, row);
    const { name: _, ...scenario } = path;
    results.add({
      path: path.name,
      ...(values.grid ? { scenario } : {}),
      isReached,
      load: round(load, 1),
      stolenShare: stolenShare(),
      ...row,
    });
    process.stderr.write(
      `${isReached === null ? " " : isReached ? "+" : "-"} ${path.name}: ${shown(row)} (load ${load.toFixed(1)})\n`,
    );
  }
  console.log(`\n${report(results.output)}`);
} finally {
  fs.rmSync(scene, { recursive: true, force: true });
}
