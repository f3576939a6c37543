// The limits that transfers are measured against: raw loops without transport, hash and disk, as two
// processes on loopback. Prints a table on stderr and JSON on stdout.
//
//   npm run bench:raw -- [--seconds 2] [--rounds 3] [--only TEXT] [--host 127.0.0.1]
//
// Each loop runs `seconds` long in each round; `--only` takes those whose name contains the text. `--host`
// is the address both ends bind.
import { cpus } from "node:os";
import { nativeBinding } from "../../dist/node/sockets/native-loader.js";
import { commandLine } from "../../scripts/command-line.mjs";
import { measure } from "./measure.mjs";

const { values: options } = commandLine(import.meta.filename, {
  seconds: { type: "string", default: "2" },
  rounds: { type: "string", default: "3" },
  only: { type: "string", default: "" },
  host: { type: "string", default: "127.0.0.1" },
});

// 65 507 is the largest datagram of IPv4, which loopback carries whole.
const LOOPS = [
  { name: "addon: GSO + GRO, AES-256-GCM in batches", kind: "native", aead: true, datagramBytes: 1_400 },
  { name: "addon: AES-256-GCM in batches", kind: "native", aead: true, datagramBytes: 65_507 },
  { name: "addon: GSO + GRO, no AEAD", kind: "native", aead: false, datagramBytes: 1_400 },
  { name: "addon: no AEAD", kind: "native", aead: false, datagramBytes: 65_507 },
  { name: "node:dgram + node:crypto", kind: "bare", aead: true, datagramBytes: 1_400 },
  { name: "node:dgram + node:crypto", kind: "bare", aead: true, datagramBytes: 65_507 },
  { name: "godwit's socket on node:dgram + node:crypto", kind: "dgram", aead: true, datagramBytes: 1_400 },
  { name: "godwit's socket on node:dgram + node:crypto", kind: "dgram", aead: true, datagramBytes: 65_507 },
];

const median = (list) => list.toSorted((a, b) => a.gbitPerSecond - b.gbitPerSecond)[list.length >> 1];

const loops = LOOPS.filter(
  (loop) =>
    (loop.kind !== "native" || nativeBinding() !== undefined) &&
    `${loop.kind} ${loop.datagramBytes}`.includes(options.only),
);
const runs = loops.map(() => []);
// Interleaved, because such machines change their speed from minute to minute.
for (let round = 0; round < Number(options.rounds); round++) {
  for (const [i, loop] of loops.entries())
    runs[i].push(await measure({ ...loop, host: options.host, seconds: Number(options.seconds) }));
}
const results = loops.map((loop, i) => ({ ...loop, ...median(runs[i]) }));
const base = results[0]?.gbitPerSecond;
console.error("payload Gbit/s | ratio | us/packet sender | receiver | lost | datagram | loop");
for (const result of results) {
  const columns = [
    result.gbitPerSecond.toFixed(2).padStart(14),
    (result.gbitPerSecond / base).toFixed(2).padStart(5),
    result.senderUsPerPacket.toFixed(2).padStart(16),
    result.receiverUsPerPacket.toFixed(2).padStart(8),
    `${(100 * Math.max(0, 1 - result.receivedPackets / result.sentPackets)).toFixed(1)}%`.padStart(5),
    String(result.datagramBytes).padStart(8),
    result.name,
  ];
  console.error(columns.join(" | "));
}
console.log(
  JSON.stringify({
    node: process.version,
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    ...options,
    results,
  }),
);
