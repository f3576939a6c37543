/**
 * Whole transfers over the simulator's link in virtual time: handshake, manifest, data, flush and
 * receipt, with a split of where the time goes. The rows are those of docs/design/paths.md.
 *
 *   npm run bench:whole                          all rows
 *   npm run bench:whole -- --only "250 ms"       some of them
 *   npm run bench:whole -- --seeds 3 --trace     three seeds, and what the controller did
 *   npm run bench:whole -- --stall 900:40        each way stands still for 40 ms, every 900 ms on average
 *   npm run bench:whole -- --grid --out paths-grid.json --table paths-grid.md --resume
 *                                                round trip x loss x rate x queue: half an hour of a processor.
 *                                                Kept after each row; --resume goes on with what there is of this commit
 *   npm run bench:whole -- --seconds 4           data of 4 s of the link instead of 30
 *   npm run bench:whole -- --controller cubic    another controller: newreno, cubic, polite
 *
 * Goodput is file bytes over the time from the first packet to the sender's end of the transfer, as a
 * share of the link, IP and UDP headers included. The disks take 20 us to 5 ms for an operation and
 * keep nothing. Virtual time: the machine's load changes how long a run takes, not a figure.
 */
import { loadSimEnvironment } from "../../dist/node/sim-environment.js";
import { SimDisk } from "../../dist/sim/disk.js";
import { DiskQueue } from "../../dist/sim/disk-queue.js";
import { burstLoss } from "../../dist/sim/link-config.js";
import { World } from "../../dist/sim/world.js";
import { SeededRandom } from "../../dist/base/random.js";
import { ClientSession } from "../../dist/transfer/client-session.js";
import { DEFAULT_OPTIONS } from "../../dist/transfer/transfer-options.js";
import { ServerSession } from "../../dist/transfer/server-session.js";
import { SessionBinding } from "../../dist/transfer/session-binding.js";
import { Endpoint } from "../../dist/transport/endpoint.js";
import { report as tables, Results } from "../paths/report.mjs";
import { FIGURES, grid, queueBytes } from "../paths/scenarios.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  only: { type: "string" },
  seeds: { type: "string", default: "1" },
  seconds: { type: "string", default: "30" },
  controller: { type: "string", default: "bbr" },
  trace: { type: "boolean", default: false },
  stall: { type: "string" },
  grid: { type: "boolean", default: false },
  out: { type: "string" },
  table: { type: "string" },
  resume: { type: "boolean", default: false },
});
const SECONDS = Number(values.seconds);
const SEEDS = Number(values.seeds);

/** Rates and round trips of the clean row that the scoreboard has only three of, and one with hardly a queue. */
const CLEAN = [
  { name: "clean, 1 ms, 50 Mbit/s", rtt: 1, rate: 50 },
  ...[20, 100, 250].flatMap((rtt) =>
    [50, 200].map((rate) => ({ name: `clean, ${rtt} ms, ${rate} Mbit/s`, rtt, rate, goal: 0.93 })),
  ),
];
const ROWS = [
  ...CLEAN,
  ...FIGURES.filter(
    ({ name, kind }) => kind !== "handshakes" && kind !== "cubic" && !name.startsWith("clean"),
  ),
];

const environment = await loadSimEnvironment();
const WALL_CLOCK_US = 1_790_000_000_000_000;
const DISK_LATENCY = { minUs: 20, maxUs: 5_000 };
const LONGEST_US = 300_000_000;
const FILE = "data";
/** Bytes of a datagram's headers on the link: IPv4 and UDP. */
const OVERHEAD_BYTES = 28;
/** As an Ethernet link carries. */
const MTU_BYTES = 1_472;

/** A disk with one large file, whose chunks differ in their first bytes, and which forgets what is written. */
class HollowDisk extends SimDisk {
  constructor(seed, label, nowUs, fileBytes) {
    super(seed, label, nowUs);
    this.fileBytes = fileBytes;
  }

  perform(operation) {
    if (operation.kind === "read") {
      const length = Math.min(operation.target.length, this.fileBytes - operation.offset);
      operation.target.fill(0, 0, length);
      if (length >= 8)
        new DataView(operation.target.buffer, operation.target.byteOffset).setFloat64(
          0,
          operation.offset + 1,
        );
      return { ok: true, lengthBytes: length };
    }
    // Journals are small; data comes by the megabyte.
    if (operation.kind === "write" && operation.bytes.length > 65_536)
      return { ok: true, lengthBytes: operation.bytes.length };
    if (operation.kind === "truncate") return { ok: true };
    const result = super.perform(operation);
    if (result.ok && result.facts?.kind === "file")
      return { ...result, facts: { ...result.facts, sizeBytes: this.fileBytes } };
    return result;
  }
}

/** Both directions of a path as links, described as in bench/paths/scenarios.mjs. */
function links(path) {
  const common = {
    delayUs: path.rtt * 500,
    overheadBytes: OVERHEAD_BYTES,
    mtuBytes: MTU_BYTES,
    lossProbability: (path.loss ?? 0) / 100,
    duplicateProbability: (path.duplicate ?? 0) / 100,
    jitterUs: (path.jitter ?? 0) * 1_000,
  };
  if (path.reorder !== undefined) {
    const [percent, ms] = path.reorder.split(":").map(Number.parseFloat);
    common.reorderProbability = percent / 100;
    common.reorderDelayUs = ms * 1_000;
  }
  if (path.burst !== undefined) {
    const [percent, length] = path.burst.split(":").map(Number.parseFloat);
    Object.assign(common, burstLoss(percent / 100, length));
  }
  if (values.stall !== undefined) {
    const [everyMs, ms] = values.stall.split(":").map(Number);
    Object.assign(common, { stallEveryUs: everyMs * 1_000, stallUs: ms * 1_000 });
  }
  if (path.blackout !== undefined)
    common.blackholes = [
      { fromUs: path.blackout[0] * 1e6, untilUs: (path.blackout[0] + path.blackout[1]) * 1e6 },
    ];
  const rateBytesPerSecond = path.rate * 125_000;
  const rate = { rateBytesPerSecond, queueBytes: queueBytes(path) };
  if (path.halved !== undefined)
    rate.changes = path.halved.map((second, i) => ({
      atUs: second * 1e6,
      set: { rateBytesPerSecond: rateBytesPerSecond / (i === 0 ? 2 : 1) },
    }));
  return [
    { ...common, ...rate },
    { ...common, rateBytesPerSecond },
  ];
}

/** One process: an endpoint and at most one session. */
class Program {
  constructor(world, host, side, seed, fileBytes, note) {
    const identity = environment.identities[side === "sender" ? 0 : 1];
    this.note = note;
    this.side = side;
    this.world = world;
    this.host = host;
    this.endpoint = new Endpoint({
      crypto: environment.crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed,
      config: {},
      controllerFactory: environment.controllers[values.controller],
      accept: side === "receiver" ? { verifyPeer: () => undefined } : undefined,
      datagramLimit: () => MTU_BYTES,
      nowUs: world.nowUs,
    });
    const disk = new HollowDisk(seed, side, () => WALL_CLOCK_US + world.nowUs, fileBytes);
    if (side === "sender") disk.plant(`/src/${FILE}`, new Uint8Array(1));
    else disk.plantDirectory("/in");
    this.disk = new DiskQueue(
      host,
      disk,
      DISK_LATENCY,
      new SeededRandom(seed, `disk/${side}`),
      (id, result) => {
        this.binding?.session.handleDiskResult(id, result, world.nowUs);
      },
    );
    host.start(this);
  }

  dial(address) {
    this.connection = this.endpoint.connect({ address, verifyPeer: () => undefined }, this.world.nowUs);
  }

  sessionHost(connection) {
    return {
      hash: environment.hash,
      peerKey: connection.peerIdentity,
      peerFingerprint: "peer",
      peerAddress: "sim",
      umask: 0o022,
    };
  }

  handleDatagrams(batch, from, to, nowUs) {
    this.endpoint.handleDatagrams(batch, nowUs);
  }

  handleTimeout(nowUs) {
    this.endpoint.handleTimeout(nowUs);
  }

  pollTransmit(batch, nowUs) {
    for (const connection of this.endpoint.takeAccepted()) {
      const policy = { location: "/in", canRead: true, canWrite: true, keepsExisting: false };
      this.binding = new SessionBinding(
        connection,
        new ServerSession(this.sessionHost(connection), policy),
        false,
      );
    }
    if (this.binding === undefined && this.connection?.state === "established") {
      this.note("connected", nowUs);
      const sources = [{ location: "/src", path: [FILE], name: [FILE] }];
      const request = { mode: "push", sources, destination: "", options: DEFAULT_OPTIONS, rules: [] };
      const session = new ClientSession(this.sessionHost(this.connection), request, nowUs);
      this.binding = new SessionBinding(this.connection, session, true);
    }
    const { binding } = this;
    if (binding !== undefined) {
      binding.pump(nowUs);
      for (const request of binding.session.takeDiskRequests()) this.disk.submit(request);
      for (const event of binding.session.takeEvents()) this.note(event.type, nowUs, event);
      for (const event of binding.connection.takeEvents()) this.note(event.type, nowUs, event);
      this.note("pump", nowUs, binding.connection);
      if (binding.session.outcome !== undefined) this.note("done", nowUs, binding.session.outcome);
    }
    return this.endpoint.pollTransmit(batch, nowUs);
  }

  nextTimeoutUs() {
    const atUs = Math.min(
      this.endpoint.nextTimeoutUs() ?? Infinity,
      this.binding?.nextTimeoutUs() ?? Infinity,
    );
    return atUs === Infinity ? undefined : atUs;
  }
}

/** Runs `path.flows` transfers (one unless given) over one path; returns a report on each. */
function transfer(path, seed) {
  const world = new World(seed);
  const [up, down] = links(path);
  const there = world.addLink("there", up);
  const back = world.addLink("back", down);
  const count = path.flows ?? 1;
  const seconds = path.lasts ?? SECONDS;
  const fileBytes = Math.floor((path.rate * 125_000 * seconds) / count);
  const reports = [];
  for (let i = 0; i < count; i++) {
    const report = { at: {}, states: [], history: [], fileBytes, verifiedBytes: 0 };
    reports.push(report);
    const sender = world.addHost(`sender${i}`);
    const receiver = world.addHost(`receiver${i}`);
    for (const host of [sender, receiver]) host.socketBufferBytes = 8 * 1024 * 1024;
    world.route(sender, receiver, [there]);
    world.route(receiver, sender, [back]);
    const beginUs = world.nowUs;
    const first = (name, nowUs) => (report.at[name] ??= (nowUs - beginUs) / 1e6);
    const client = new Program(
      world,
      sender,
      "sender",
      seed * 1_000 + 2 * i,
      fileBytes,
      (type, nowUs, event) => {
        if (type === "connected" || type === "done" || type === "file-started") first(type, nowUs);
        else if (type === "congestion-state-changed") {
          if (event.from === "startup") first("filled", nowUs);
          report.states.push({ at: (nowUs - beginUs) / 1e6, to: event.to });
        } else if (type === "recovery-updated")
          report.history.push({ at: (nowUs - beginUs) / 1e6, ...event });
        if (type === "done") report.outcome = event;
        if (type === "pump") report.connection = event;
      },
    );
    const server = new Program(
      world,
      receiver,
      "receiver",
      seed * 1_000 + 2 * i + 1,
      fileBytes,
      (type, nowUs, event) => {
        if (type === "chunk-verified") {
          first("firstChunk", nowUs);
          report.at.lastChunk = (nowUs - beginUs) / 1e6;
          report.verifiedBytes += event.lengthBytes;
          report.chunks ??= [];
          report.chunks.push([(nowUs - beginUs) / 1e6, event.lengthBytes]);
        } else if (type === "file-verified" || type === "file-committed") first(type, nowUs);
        if (type === "pump" && event.heldObjectBytes > 0) first("firstByte", nowUs);
        if (type === "pump") {
          const { objectBytesReceived, objectBytesDuplicate } = event.statistics(nowUs);
          if (objectBytesReceived - objectBytesDuplicate >= fileBytes) first("lastByte", nowUs);
        }
      },
    );
    client.dial(server.host.publicAddress);
    sender.poke();
    report.beginUs = beginUs;
  }
  const wanted = path.kind === "flows" ? 1 : count;
  world.run(
    world.nowUs + LONGEST_US,
    () => reports.filter(({ outcome }) => outcome !== undefined).length >= wanted,
  );
  for (const report of reports) {
    report.statistics = report.connection.statistics(world.nowUs);
    report.seconds = report.at.done ?? (world.nowUs - report.beginUs) / 1e6;
    report.queueDrops = there.link.statistics.droppedQueue ?? 0;
  }
  return reports;
}

const fixed = (value, digits = 2) => (value === undefined ? "-" : value.toFixed(digits));

function capacity(path, seconds) {
  const overlap = (from, to) => Math.max(0, Math.min(seconds, to) - Math.max(0, from));
  let full = seconds;
  if (path.halved !== undefined) full -= overlap(...path.halved) / 2;
  if (path.blackout !== undefined) full -= overlap(path.blackout[0], path.blackout[0] + path.blackout[1]);
  return full * path.rate * 125_000;
}

/** The grid: one figure for each path. */
function runGrid(paths) {
  const results = new Results("grid", SECONDS, values, { isVirtual: true });
  for (const path of paths) {
    if (results.has(path.name)) continue;
    const [{ fileBytes, seconds, outcome, statistics }] = transfer(path, 1);
    const { name, ...scenario } = path;
    const isDone = outcome !== undefined && outcome.code === undefined;
    const share = Number((fileBytes / capacity(path, seconds)).toFixed(4));
    const more = isDone ? { share } : { failed: outcome?.text ?? "not done after 300 s" };
    const sentPerNeeded = Number((1 + statistics.retransmittedBytes / fileBytes).toFixed(3));
    results.add({ path: name, scenario, seconds: Number(seconds.toFixed(2)), sentPerNeeded, ...more });
    process.stderr.write(`${name}: ${isDone ? `${(100 * share).toFixed(1)} %` : more.failed}\n`);
  }
  console.log(tables(results.output));
}

const isWanted = ({ name }) => values.only === undefined || name.includes(values.only);
if (values.grid) {
  runGrid(grid().filter(isWanted));
  process.exit(0);
}
for (const path of ROWS.filter(isWanted)) {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const reports = transfer(path, seed);
    if (path.kind === "flows") {
      // All but the first and last seconds, when not all of them are there.
      const from = 5;
      const to = Math.min(...reports.map(({ seconds }) => seconds)) - 1;
      const shares = reports.map(
        ({ chunks }) =>
          chunks.filter(([at]) => at >= from && at < to).reduce((sum, [, bytes]) => sum + bytes, 0) /
          (to - from) /
          (path.rate * 125_000),
      );
      const sum = shares.reduce((total, share) => total + share, 0);
      const jain = sum ** 2 / (shares.length * shares.reduce((total, share) => total + share ** 2, 0));
      console.log(
        `${path.name.padEnd(52)} Jain ${jain.toFixed(3)}, sum ${(100 * sum).toFixed(1)} %, each ${shares.map((s) => (100 * s).toFixed(1)).join(" ")}`,
      );
      continue;
    }
    const [report] = reports;
    const { at, statistics, seconds } = report;
    const wireSeconds = ((report.fileBytes / 1437) * 1500) / (path.rate * 125_000);
    const share = report.fileBytes / capacity(path, seconds);
    const packets = statistics.packetsSent;
    console.log(
      `${path.name.padEnd(52)} ${(100 * share).toFixed(1)} %${path.goal === undefined ? "" : ` of ${100 * path.goal}`}` +
        `  over ${fixed(seconds - wireSeconds)} s  connect ${fixed(at.connected)}  accept ${fixed(at["file-started"])}  first byte ${fixed(at.firstByte)}  filled ${fixed(at.filled)}` +
        `  last byte ${fixed(at.lastByte)}  verified ${fixed(at["file-verified"])}  committed ${fixed(at["file-committed"])}  done ${fixed(at.done)}` +
        `  sent/needed ${(1 + statistics.retransmittedBytes / report.fileBytes).toFixed(3)}  lost ${((100 * statistics.packetsLost) / packets).toFixed(2)} %` +
        `  spurious ${((100 * statistics.packetsSpurious) / packets).toFixed(2)} %  queue drops ${report.queueDrops}  ptos ${statistics.probeTimeouts} datagram ${statistics.datagramBytes}`,
    );
    if (report.outcome?.code !== undefined) console.log(report.outcome);
    if (values.trace) {
      for (const state of report.states) console.log(`    ${fixed(state.at, 3)} ${state.to}`);
      for (const h of report.history)
        console.log(
          `    ${h.at.toFixed(3)} window ${(h.congestionWindowBytes / 1472).toFixed(0)} in flight ${(h.bytesInFlight / 1472).toFixed(0)} pacing ${(h.pacingRateBytesPerSecond / 125e3).toFixed(1)} bandwidth ${(h.bandwidthBytesPerSecond / 125e3).toFixed(1)} srtt ${(h.smoothedRttUs / 1e3).toFixed(0)} min ${(h.minRttUs / 1e3).toFixed(0)}`,
        );
    }
  }
}
