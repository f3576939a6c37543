// A process with several senders, each with an identity of its own; forked by parallel.mjs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { send } from "../../dist/index.js";

async function sendAll({ numbers, port, source, homes, staggerMs }) {
  const results = await Promise.all(
    numbers.map(async (number) => {
      await new Promise((done) => setTimeout(done, number * staggerMs));
      const started = Date.now();
      let firstMs;
      const transfer = send(source, {
        to: `127.0.0.1:${port}/c${number}`,
        acceptNew: true,
        home: join(homes, `c${number}`),
      });
      for await (const event of transfer) {
        if (event.type === "file-started") firstMs = Date.now();
      }
      const { path } = await transfer.result;
      const { packetsSent, lossFraction } = path;
      const ended = Date.now();
      return { started, firstMs: firstMs ?? started, ended, packets: packetsSent, lossFraction };
    }),
  );
  // Not resourceUsage(): its peak begins with that of the process that forked this one.
  const peakKib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))[1]);
  process.send({ results, cpu: process.cpuUsage(), rss: peakKib });
  process.disconnect();
}

process.once("message", (job) => void sendAll(job));
