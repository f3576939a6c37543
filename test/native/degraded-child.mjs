// Sends numbered datagrams to itself and prints what arrived and what the socket has become.
import { nativeBinding } from "../../dist/node/sockets/native-loader.js";
import { openNativeSocket } from "../../dist/node/sockets/native.js";
import { PacketBatch } from "../../dist/wire/batch.js";

const COUNT = 1_000;
const a = openNativeSocket(nativeBinding(), { host: "127.0.0.1" });
const b = openNativeSocket(nativeBinding(), { host: "127.0.0.1" });
const degraded = [];
const numbers = [];
const inbox = new PacketBatch(1_024, 2 << 20);
const before = a.description;
const nothing = () => {};

function finish() {
  const isInOrder = numbers.every((number, index) => number === index);
  const { datagramsSent, sendErrors } = a.statistics;
  const sender = { before, after: a.description, datagramsSent, sendErrors, degraded };
  console.log(JSON.stringify({ ...sender, receiver: b.description, arrived: numbers.length, isInOrder }));
  a.close();
  b.close();
}

b.start({
  handleReadable() {
    while ((inbox.clear(), b.receive(inbox) > 0)) {
      for (let i = 0; i < inbox.count; i++) {
        const datagram = inbox.datagram(i);
        numbers.push(datagram[0] * 256 + datagram[1]);
      }
    }
    // The news that a feature is gone comes in a later turn than the datagrams.
    if (numbers.length === COUNT) setImmediate(() => setImmediate(finish));
  },
  handleWritable: nothing,
  handleError: nothing,
});
a.start({
  handleReadable: nothing,
  handleWritable: nothing,
  handleError: nothing,
  handleDegraded: (feature) => degraded.push(feature),
});
const batch = new PacketBatch(COUNT, COUNT * 500);
for (let i = 0; i < COUNT; i++) {
  batch.bytes[batch.usedBytes] = i >> 8;
  batch.bytes[batch.usedBytes + 1] = i & 255;
  batch.push(500, b.localAddress, 0);
}
a.send(batch, 0, COUNT);
