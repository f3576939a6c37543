// One raw loop as two processes: what run.mjs and the end-to-end tables compare with.
import { fork } from "node:child_process";

function message(child) {
  return new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", () => reject(new Error("an end of the loop died")));
  });
}

/** Runs one loop on `host` for `seconds`: its rate, losses and CPU time per packet. */
export async function measure(job) {
  const script = new URL("loop.mjs", import.meta.url);
  const receiver = fork(script);
  receiver.send({ ...job, role: "receive" });
  const { address } = await message(receiver);
  const sender = fork(script);
  sender.send({ ...job, role: "send", address });
  const sent = await message(sender);
  receiver.send("report");
  const received = await message(receiver);
  return {
    gbitPerSecond: (received.payloadBytes * 8) / received.seconds / 1e9,
    payloadBytesPerPacket: received.payloadBytes / received.packets,
    sentPackets: sent.packets,
    receivedPackets: received.packets,
    forged: received.forged,
    kernelDrops: received.kernelDrops,
    senderUsPerPacket: sent.cpuUs / sent.packets,
    receiverUsPerPacket: received.cpuUs / received.packets,
    socket: received.description,
  };
}
