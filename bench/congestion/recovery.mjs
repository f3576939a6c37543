/** What recovery, controller and pacer cost per packet: sent and acknowledged, with and without loss. */
import { bbr } from "../../dist/transport/congestion/bbr.js";
import { Recovery } from "../../dist/transport/recovery/recovery.js";
import { commandLine } from "../../scripts/command-line.mjs";

commandLine(import.meta.filename);

const handler = { handlePacketAcked() {}, handlePacketLost() {}, handleSpuriousLoss() {} };

/** Nanoseconds per packet, with `inFlight` packets under way and every `lostEach`-th one lost. */
function run(packets, inFlight, perAck, lostEach) {
  const recovery = new Recovery({
    controllerFactory: bbr,
    datagramBytes: 1_452,
    nowUs: 0,
    randomFloat: () => 0.5,
    maxAckDelayUs: 25_000,
  });
  const ranges = new Float64Array(128);
  const begun = process.hrtime.bigint();
  let nowUs = 0;
  for (let sent = 0; sent < packets; sent++) {
    nowUs += 10;
    recovery.nextSendTimeUs(nowUs);
    recovery.handleSent(sent, 1_452, nowUs, true, false);
    const acked = sent - inFlight;
    if (acked < 0 || acked % perAck !== 0) continue;
    // The newest 64 ranges, as an ACK frame carries them: gaps where packets were lost.
    let count = 0;
    let high = acked;
    while (count < 64 && high >= 0) {
      const low = lostEach === 0 ? 0 : Math.floor(high / lostEach) * lostEach + 1;
      if (low <= high) {
        ranges[2 * count] = low;
        ranges[2 * count + 1] = high;
        count++;
      }
      if (lostEach === 0) break;
      high = low - 2;
    }
    if (count > 0) recovery.handleAck(ranges[1], 0, ranges, count, nowUs, handler);
  }
  return Number(process.hrtime.bigint() - begun) / packets;
}

for (const [label, lostEach] of [
  ["no loss", 0],
  ["5 % loss", 20],
  ["20 % loss", 5],
]) {
  run(200_000, 1_000, 16, lostEach);
  const runs = [1, 2, 3, 4, 5].map(() => run(1_000_000, 1_000, 16, lostEach)).sort((a, b) => a - b);
  console.log(
    `${label.padEnd(10)} ${runs[0].toFixed(0)} ns a packet at best, ${runs[2].toFixed(0)} median of five`,
  );
}
