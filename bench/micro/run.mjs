// The hot functions one by one: what each costs per packet of 1 472 bytes (per MiB for hashing).
//   node bench/micro/run.mjs [--ms 300]         milliseconds for each function
import { randomBytes } from "node:crypto";
import { Bench } from "tinybench";
import { RangeSet } from "../../dist/base/range-set.js";
import { nodePacketKey } from "../../dist/node/crypto/packet-key-node.js";
import { packetKeyFactory } from "../../dist/node/crypto/packet-key-native.js";
import { loadBlake3, wasmBlake3 } from "../../dist/node/hash.js";
import { PieceQueue } from "../../dist/transfer/piece-queue.js";
import { bbr } from "../../dist/transport/congestion/bbr.js";
import { AckTracker } from "../../dist/transport/ack-tracker.js";
import { Recovery } from "../../dist/transport/recovery/recovery.js";
import { PacketBatch } from "../../dist/wire/batch.js";
import { FrameReader, NO_FRAME } from "../../dist/wire/frame-reader.js";
import { writeAck, writeDataToEndHeader } from "../../dist/wire/frames.js";
import { commandLine } from "../../scripts/command-line.mjs";
import { conditions } from "../table.mjs";

const { values } = commandLine(import.meta.filename, { ms: { type: "string", default: "300" } });

/** Packets in one call of each function: a batch as the driver fills it. */
const PACKETS = 64;
const DATAGRAM_BYTES = 1_472;
const HEADER_BYTES = 13;
const address = Int32Array.of(0, 0, 0xffff, 0x7f000001, 4_639, 0);

const bench = new Bench({ time: Number(values.ms) });

const batch = new PacketBatch(PACKETS, PACKETS * DATAGRAM_BYTES);
for (let i = 0; i < PACKETS; i++) batch.packetNumbers[batch.push(DATAGRAM_BYTES, address, 0)] = i;
const [secret, iv] = [randomBytes(32), randomBytes(12)];
const keys = { "addon, if built": packetKeyFactory()(secret, iv), "node:crypto": nodePacketKey(secret, iv) };
for (const [name, key] of Object.entries(keys)) {
  bench.add(`seal, ${name}`, () => key.seal(batch, 0, PACKETS, HEADER_BYTES));
  // Opening undoes sealing in place, so that both are in it.
  bench.add(`seal and open, ${name}`, () => {
    key.seal(batch, 0, PACKETS, HEADER_BYTES);
    key.open(batch, 0, PACKETS, HEADER_BYTES);
  });
}

const bytes = new Uint8Array(DATAGRAM_BYTES);
const reader = new FrameReader();
bench.add("write and read a DATA frame", () => {
  for (let i = 0; i < PACKETS; i++) {
    writeDataToEndHeader(bytes, 0, 7, 2 ** 30 + i * DATAGRAM_BYTES);
    reader.reset(bytes, 0, DATAGRAM_BYTES);
    while (reader.next() !== NO_FRAME);
  }
});

bench.add("range set: add in order", () => {
  const set = new RangeSet();
  for (let i = 0; i < PACKETS; i++) set.add(i * DATAGRAM_BYTES, (i + 1) * DATAGRAM_BYTES);
});

const tracker = new AckTracker(25_000);
let received = 0;
bench.add("note packets received, one ACK for 64", () => {
  for (let i = 0; i < PACKETS; i++) tracker.handleReceived(received++, true, 0, received);
  writeAck(bytes, 0, bytes.length, tracker.ranges(), 0, undefined);
  tracker.handleAckAcked(tracker.handleAckSent());
});

const recovery = new Recovery({
  controllerFactory: bbr,
  datagramBytes: DATAGRAM_BYTES,
  nowUs: 0,
  randomFloat: () => 0.5,
  maxAckDelayUs: 25_000,
});
const nobody = { handlePacketAcked() {}, handlePacketLost() {}, handleSpuriousLoss() {} };
const acked = new Float64Array(2);
let sent = 0;
let nowUs = 0;
bench.add("recovery and BBR: send, one ACK for 64", () => {
  acked[0] = sent;
  for (let i = 0; i < PACKETS; i++) recovery.handleSent(sent++, DATAGRAM_BYTES, nowUs, true, false);
  nowUs += 1_000;
  acked[1] = sent - 1;
  recovery.handleAck(sent - 1, 0, acked, 1, nowUs, nobody);
});

const queue = new PieceQueue({
  isReading: false,
  handleChunkSent() {},
  handleChunkAcked() {},
  handleReloadNeeded() {},
});
const chunk = new Uint8Array(2 ** 20);
const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
const carried = DATAGRAM_BYTES - 40;
let index = 0;
bench.add("piece queue: describe, copy out, acknowledge", () => {
  queue.add(1, { index: index++, lengthBytes: PACKETS * carried, bytes: chunk, source: {} });
  while (queue.peekPiece(piece, false)) {
    queue.takePiece(piece, carried, bytes, 0);
    queue.handlePieceAcked(piece.object, piece.offset, carried);
  }
});

const blake = await loadBlake3();
const blakeWasm = await wasmBlake3();
bench.add("BLAKE3 of 1 MiB, fastest here", () => blake(chunk));
bench.add("BLAKE3 of 1 MiB, WebAssembly", () => blakeWasm(chunk));

await bench.run();
console.log(`### Hot functions\n\n${conditions()}\n`);
console.log("| function | ns per packet, median | fastest |\n|---|---|---|");
for (const { name, result } of bench.tasks) {
  if (result?.latency === undefined) throw result?.error ?? new Error(`${name} did not run`);
  const each = name.includes("MiB") ? 1 : PACKETS;
  const ns = (ms) => ((ms * 1e6) / each).toFixed(0);
  console.log(
    `| ${name} | ${ns(result.latency.p50)}${each === 1 ? " a MiB" : ""} | ${ns(result.latency.min)} |`,
  );
}
console.log("");
