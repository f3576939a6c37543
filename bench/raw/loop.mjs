// One end of a raw loop: sequence numbers, AEAD, one copy at each side, a window, and nothing else. Forked by
// run.mjs; told by message what to be. What it reaches is the most a transport on the same calls could.
import { nativePacketKeyFactory } from "../../dist/node/crypto/packet-key-native.js";
import { nodePacketKey } from "../../dist/node/crypto/packet-key-node.js";
import { openDgramSocket } from "../../dist/node/sockets/dgram.js";
import { nativeBinding } from "../../dist/node/sockets/native-loader.js";
import { openNativeSocket } from "../../dist/node/sockets/native.js";
import { PacketBatch } from "../../dist/wire/batch.js";
import { openBareSocket } from "./bare-dgram.mjs";

const HEADER_BYTES = 13; // flags, connection ID, four bytes of packet number
const TAG_BYTES = 16;
const CHUNK_BYTES = 1 << 20;
const WINDOW_BYTES = 2 << 20; // about half of what the receiver's kernel buffer holds

const KEY = new Uint8Array(32).fill(7);
const IV = new Uint8Array(12).fill(9);
const chunk = new Uint8Array(CHUNK_BYTES + 65_536);

async function openSocket(kind, host) {
  if (kind === "bare") return openBareSocket(host);
  if (kind === "dgram") return openDgramSocket({ host });
  return openNativeSocket(nativeBinding(), { host });
}

function makeKey(kind, aead) {
  if (!aead) return { seal() {}, open: (batch, from, to) => (batch.opened.fill(1, from, to), to - from) };
  return kind === "native" ? nativePacketKeyFactory(nativeBinding())(KEY, IV) : nodePacketKey(KEY, IV);
}

async function receive({ kind, aead, host }) {
  const socket = await openSocket(kind, host);
  const key = makeKey(kind, aead);
  const inbox = new PacketBatch(1_024, 2 << 20);
  const answer = new PacketBatch(1, 64);
  const answerView = new DataView(answer.bytes.buffer);
  const view = new DataView(inbox.bytes.buffer);
  let packets = 0;
  let forged = 0;
  let payloadBytes = 0;
  let highest = 0;
  let firstMs = 0;
  let lastMs = 0;
  let at = 0;
  let cpuAtFirst;
  let cpuAtLast;
  const handleReadable = () => {
    let count;
    let lastIndex = -1;
    while ((inbox.clear(), (count = socket.receive(inbox)) > 0)) {
      for (let i = 0; i < count; i++) {
        const number = view.getUint32(inbox.offsets[i] + 9);
        inbox.packetNumbers[i] = number;
        if (number > highest) highest = number;
      }
      if (firstMs === 0) {
        firstMs = performance.now();
        cpuAtFirst = process.cpuUsage();
      }
      forged += count - key.open(inbox, 0, count, HEADER_BYTES);
      for (let i = 0; i < count; i++) {
        if (inbox.opened[i] === 0) continue;
        const from = inbox.offsets[i] + HEADER_BYTES;
        const bytes = inbox.lengths[i] - HEADER_BYTES - TAG_BYTES;
        chunk.set(inbox.bytes.subarray(from, from + bytes), at);
        at = at + bytes >= CHUNK_BYTES ? 0 : at + bytes;
        payloadBytes += bytes;
      }
      packets += count;
      lastIndex = count - 1;
      // Feedback before the next batch: it must not wait for the receiver to be idle.
      answer.clear();
      answerView.setFloat64(0, highest);
      answer.push(8, inbox.addresses, lastIndex);
      socket.send(answer, 0, 1);
      if (kind !== "native") break;
    }
    if (lastIndex < 0) return;
    lastMs = performance.now();
    cpuAtLast = process.cpuUsage();
  };
  socket.start({ handleReadable, handleWritable() {}, handleError: fail });
  process.send({ port: socket.localAddress[4], address: [...socket.localAddress] });
  process.once("message", () => {
    const cpuUs = cpuAtLast.user + cpuAtLast.system - cpuAtFirst.user - cpuAtFirst.system;
    const result = { packets, forged, payloadBytes, seconds: (lastMs - firstMs) / 1e3, cpuUs };
    process.send({
      ...result,
      kernelDrops: socket.statistics.kernelDrops ?? null,
      description: socket.description,
    });
    socket.close();
    process.disconnect();
  });
}

async function send({ kind, aead, host, datagramBytes, seconds, address }) {
  const socket = await openSocket(kind, host);
  const key = makeKey(kind, aead);
  const to = Int32Array.from(address);
  // About half a megabyte a turn at most, so that feedback is read often.
  const perBatch = Math.max(1, Math.min(socket.preferredBatch, Math.floor((512 << 10) / datagramBytes)));
  const batch = new PacketBatch(perBatch, perBatch * datagramBytes);
  const view = new DataView(batch.bytes.buffer);
  const inbox = new PacketBatch(64, 256 << 10);
  const inboxView = new DataView(inbox.bytes.buffer);
  const windowPackets = Math.max(4, Math.floor(WINDOW_BYTES / datagramBytes));
  const payload = datagramBytes - HEADER_BYTES - TAG_BYTES;
  let next = 1;
  let acknowledged = 0;
  let resume = 0;
  let at = 0;
  let isScheduled = false;
  let isDone = false;
  const startMs = performance.now();
  const startCpu = process.cpuUsage();

  const fill = () => {
    batch.clear();
    const count = Math.min(perBatch, acknowledged + windowPackets - next + 1);
    for (let i = 0; i < count; i++) {
      const start = batch.usedBytes;
      batch.bytes.set(chunk.subarray(at, at + payload), start + HEADER_BYTES);
      at = at + payload >= CHUNK_BYTES ? 0 : at + payload;
      view.setUint32(start + 9, next);
      batch.packetNumbers[batch.push(datagramBytes, to, 0)] = next++;
    }
    key.seal(batch, 0, batch.count, HEADER_BYTES);
    resume = 0;
  };
  const pump = () => {
    isScheduled = false;
    if (isDone) return;
    // Several small batches a turn where a batch is one datagram.
    for (let sent = 0; sent < 64; sent += perBatch) {
      if (resume === batch.count) {
        if (next > acknowledged + windowPackets) return;
        fill();
      }
      resume = socket.send(batch, resume, batch.count);
      if (resume < batch.count) return;
    }
    schedule();
  };
  const schedule = () => {
    if (isScheduled || isDone) return;
    isScheduled = true;
    setImmediate(pump);
  };
  const handleReadable = () => {
    while ((inbox.clear(), socket.receive(inbox) > 0)) {
      for (let i = 0; i < inbox.count; i++) {
        const highest = inboxView.getFloat64(inbox.offsets[i]);
        if (highest > acknowledged) acknowledged = highest;
      }
    }
    schedule();
  };
  socket.start({ handleReadable, handleWritable: schedule, handleError: fail });
  // The end of a window may be lost, and nothing is sent twice here: go on after a while.
  let seen = 0;
  const unstick = setInterval(() => {
    if (acknowledged === seen) acknowledged = next - 1;
    seen = acknowledged;
    schedule();
  }, 100);
  schedule();
  setTimeout(() => {
    isDone = true;
    clearInterval(unstick);
    const { user, system } = process.cpuUsage(startCpu);
    const elapsed = (performance.now() - startMs) / 1e3;
    process.send({
      packets: next - 1,
      seconds: elapsed,
      cpuUs: user + system,
      description: socket.description,
    });
    socket.close();
    process.disconnect();
  }, seconds * 1_000);
}

function fail(error) {
  throw error;
}

process.once("message", (job) => void (job.role === "send" ? send(job) : receive(job)));
