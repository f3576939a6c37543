/**
 * The congestion controllers in the packet laboratory (src/sim/flow-lab.ts): utilisation over the whole
 * grid of round trips, loss, rates and queues, then the figures of docs/design/congestion.md.
 *
 *   npm run bench:congestion                     the default controller
 *   npm run bench:congestion -- cubic            another one: newreno, cubic, polite
 *   npm run bench:congestion -- bbr --figures    only the figures
 *   npm run bench:congestion -- bbr --grid       only the grid
 *
 * Utilisation is UDP payload delivered, as a share of the bottleneck, over 30 s of data: packet headers
 * and the handshake are not in it. Virtual time: the machine's load changes how long it takes, not a figure.
 */
import { runLab } from "../../dist/sim/flow-lab.js";
import { bbr, polite } from "../../dist/transport/congestion/bbr.js";
import { cubic } from "../../dist/transport/congestion/cubic.js";
import { newReno } from "../../dist/transport/congestion/newreno.js";
import { commandLine } from "../../scripts/command-line.mjs";

const CONTROLLERS = { bbr, polite, cubic, newreno: newReno };
const { values: only, positionals } = commandLine(
  import.meta.filename,
  { figures: { type: "boolean", default: false }, grid: { type: "boolean", default: false } },
  true,
);
const name = positionals[0] ?? "bbr";
const controller = CONTROLLERS[name];
if (controller === undefined) throw new Error(`no controller ${name}`);

const SECONDS = 30;
const LONGEST_US = 600_000_000;

/** A path as the lab wants it; acknowledgements are lost as often as data. */
function path(mbit, rttMs, lossPercent, queueBdp, more = {}) {
  return {
    bitsPerSecond: mbit * 1e6,
    rttUs: rttMs * 1_000,
    queueBytes: Math.max(queueBdp * mbit * 125 * rttMs, 3_000),
    loss: lossPercent / 100,
    ackLoss: lossPercent / 100,
    ...more,
  };
}

/** Share of the link that 30 s of data reached, and what it took. */
function bulk(link, seed = 1, factory = controller) {
  const bytes = (link.bitsPerSecond / 8) * SECONDS;
  const [flow] = runLab(link, [{ controller: factory, bytes }], LONGEST_US, seed);
  const seconds = Math.min(flow.finishedAtUs, LONGEST_US) / 1e6;
  const steady = flow.queueDelayUs.slice(5).filter((us) => us !== undefined);
  return {
    share: (flow.deliveredBytes * 8) / seconds / link.bitsPerSecond,
    sent: flow.sentBytes / flow.deliveredBytes,
    ownLoss: flow.queueDrops / flow.packetsSent,
    spurious: flow.spuriousPackets / flow.packetsSent,
    queueMs: steady.length === 0 ? 0 : steady.reduce((sum, us) => sum + us, 0) / steady.length / 1e3,
  };
}

const percent = (share) => (100 * share).toFixed(1);

function printGrid() {
  const losses = [0, 0.1, 1, 5, 10, 20];
  for (const queueBdp of [0.1, 1, 4]) {
    console.log(`\n${name}, queue ${queueBdp} BDP: utilisation in %, by loss in %`);
    console.log(["Mbit/s", "RTT ms", ...losses].map((cell) => String(cell).padStart(7)).join(""));
    for (const mbit of [10, 50, 200]) {
      for (const rttMs of [1, 20, 100, 250, 600]) {
        const cells = losses.map((loss) => percent(bulk(path(mbit, rttMs, loss, queueBdp)).share));
        console.log([mbit, rttMs, ...cells].map((cell) => String(cell).padStart(7)).join(""));
      }
    }
  }
}

function printBulk(label, link) {
  const runs = [1, 2, 3].map((seed) => bulk(link, seed));
  const worst = (key, pick) => pick(...runs.map((run) => run[key]));
  console.log(
    `${label.padEnd(46)} ${percent(worst("share", Math.min)).padStart(5)} %` +
      `  sent/needed ${worst("sent", Math.max).toFixed(3)}  own loss ${percent(worst("ownLoss", Math.max))} %` +
      `  spurious ${percent(worst("spurious", Math.max))} %  queue ${worst("queueMs", Math.max).toFixed(0)} ms`,
  );
}

function shares(link, flows, seconds, fromSecond, seed) {
  const results = runLab(link, flows, seconds * 1e6, seed);
  return results.map((flow) => {
    const bytes = flow.perSecond.slice(fromSecond, seconds).reduce((sum, each) => sum + (each ?? 0), 0);
    return (bytes * 8) / (seconds - fromSecond) / link.bitsPerSecond;
  });
}

function printShares(label, link, flows, seconds, fromSecond = 0) {
  const runs = [1, 2, 3].map((seed) => shares(link, flows, seconds, fromSecond, seed));
  const text = runs.map((run) => {
    const sum = run.reduce((total, share) => total + share, 0);
    const jain = sum ** 2 / (run.length * run.reduce((total, share) => total + share ** 2, 0));
    return run.length === 2
      ? `${percent(run[0])}:${percent(run[1])}`
      : `${jain.toFixed(3)} of ${percent(sum)} %`;
  });
  console.log(`${label.padEnd(46)} ${text.join("  ")}`);
}

function printFigures() {
  console.log(`\n${name}: figures, the worst of three seeds each`);
  for (const rttMs of [20, 100, 250]) {
    for (const mbit of [50, 200])
      printBulk(`clean, ${rttMs} ms, ${mbit} Mbit/s, 1 BDP`, path(mbit, rttMs, 0, 1));
  }
  printBulk("100 ms, 1 % loss, 50 Mbit/s", path(50, 100, 1, 1));
  printBulk("200 ms, 5 % loss, 50 Mbit/s", path(50, 200, 5, 1));
  printBulk("250 ms, 10 % loss, 50 Mbit/s", path(50, 250, 10, 1));
  const bad = { reorder: 0.01, reorderUs: 20_000, duplicate: 0.01 };
  printBulk("300 ms, 15 % + reorder, duplicate, 20 Mbit/s", path(20, 300, 15, 1, bad));
  printBulk("100 ms, 20 % loss, 50 Mbit/s", path(50, 100, 20, 1));
  printBulk("50 ms, bursts of 20, 3 % in all, 50 Mbit/s", path(50, 50, 3, 1, { burst: 20 }));
  for (const mbit of [10, 50, 200]) printBulk(`40 ms, queue 0.1 BDP, ${mbit} Mbit/s`, path(mbit, 40, 0, 0.1));
  const jitter = { jitter: 0.5, reorder: 0.05, reorderUs: 25_000 };
  printBulk("100 ms, jitter 50 %, reorder 5 %, 50 Mbit/s", path(50, 100, 0, 1, jitter));
  printBulk(
    "50 ms, half of the packets 150 ms late",
    path(50, 50, 0, 1, { reorder: 0.5, reorderUs: 150_000 }),
  );
  printBulk("50 ms, ACKs every 20 ms, 50 Mbit/s", path(50, 50, 0, 1, { ackCompressionUs: 20_000 }));
  printBulk("40 ms, queue of 2 s, 20 Mbit/s", path(20, 40, 0, 50));
  printBulk("100 ms, queue of 2 s, 20 Mbit/s", path(20, 100, 0, 20));
  const halved = [
    { atUs: 10e6, bitsPerSecond: 25e6 },
    { atUs: 20e6, bitsPerSecond: 50e6 },
  ];
  printBulk("40 ms, halved from 10 to 20 s (84 % is all)", path(50, 40, 0, 1, { rateChanges: halved }));
  const dark = [
    { atUs: 10e6, bitsPerSecond: 0 },
    { atUs: 40e6, bitsPerSecond: 50e6 },
  ];
  printBulk("40 ms, blackout from 10 to 40 s (50 % is all)", path(50, 40, 0, 1, { rateChanges: dark }));

  const neighbour = { controller: cubic, isUnpaced: true, ackEvery: 2 };
  const own = (startUs = 0) => ({ controller, startUs });
  console.log("\nbeside one CUBIC flow, 60 s: our share and its share in %");
  for (const mbit of [10, 50, 100]) {
    printShares(`40 ms, 1 BDP, ${mbit} Mbit/s`, path(mbit, 40, 0, 1), [own(), neighbour], 60);
  }
  printShares(
    "40 ms, 1 BDP, 50 Mbit/s, CUBIC was there first",
    path(50, 40, 0, 1),
    [own(5e6), neighbour],
    65,
    5,
  );
  for (const bdp of [0.1, 0.5, 4]) {
    printShares(`40 ms, ${bdp} BDP, 50 Mbit/s`, path(50, 40, 0, bdp), [own(), neighbour], 60);
  }
  printShares("100 ms, 1 BDP, 20 Mbit/s", path(20, 100, 0, 1), [own(), neighbour], 60);

  console.log("\nfour flows of its kind, 60 s: Jain index and sum");
  const four = (gapUs) => [0, 1, 2, 3].map((index) => own(index * gapUs));
  for (const mbit of [20, 50, 100])
    printShares(`40 ms, 1 BDP, ${mbit} Mbit/s`, path(mbit, 40, 0, 1), four(1e5), 60);
  printShares("40 ms, 1 BDP, 50 Mbit/s, one every 5 s", path(50, 40, 0, 1), four(5e6), 75, 15);
  printShares("40 ms, 0.1 BDP, 100 Mbit/s", path(100, 40, 0, 0.1), four(1e5), 60);
  printShares("100 ms, 1 % loss, 100 Mbit/s", path(100, 100, 1, 1), four(1e5), 60);
}

if (!only.figures) printGrid();
if (!only.grid) printFigures();
