// node:dgram with nothing around it but the shape of a DatagramSocket: the plain loop's own limit.
import { createSocket } from "node:dgram";
import { parseAddress } from "../../dist/node/sockets/address-text.js";
import { HostCache } from "../../dist/node/sockets/host-cache.js";

/** A bare socket bound to `host`. It copies what it sends because Node may keep a reference. */
export async function openBareSocket(host) {
  const isIpv6 = host.includes(":");
  const socket = createSocket({
    type: isIpv6 ? "udp6" : "udp4",
    lookup: (name, options, callback) => callback(null, name, isIpv6 ? 6 : 4),
  });
  await new Promise((resolve) => socket.bind(0, host, resolve));
  socket.setRecvBufferSize(4 << 20);
  socket.setSendBufferSize(4 << 20);
  const hosts = new HostCache(isIpv6);
  let waiting = [];
  let isClosed = false;
  let from = new Int32Array(6);
  return {
    description: "bare node:dgram",
    preferredBatch: 1,
    localAddress: parseAddress(host, socket.address().port),
    statistics: {},
    start({ handleReadable }) {
      socket.on("message", (bytes, rinfo) => {
        if (from[4] !== rinfo.port) from = parseAddress(rinfo.address, rinfo.port);
        if (waiting.push(bytes) === 1) setImmediate(() => handleReadable());
      });
    },
    send(batch, first, to) {
      if (isClosed) return to;
      for (let i = first; i < to; i++) {
        const bytes = Buffer.from(batch.datagram(i));
        socket.send(bytes, batch.addresses[i * 6 + 4], hosts.host(batch.addresses, i));
      }
      return to;
    },
    receive(batch) {
      const before = batch.count;
      let taken = 0;
      while (taken < waiting.length && batch.hasRoom(waiting[taken].length)) {
        batch.bytes.set(waiting[taken], batch.usedBytes);
        batch.push(waiting[taken].length, from, 0);
        taken++;
      }
      waiting = taken === waiting.length ? [] : waiting.slice(taken);
      return batch.count - before;
    },
    close() {
      isClosed = true;
      socket.close();
    },
  };
}
