// The paths of the scoreboard. Delays are one way in ms, rates in Mbit/s counted in IP bytes, loss in percent
// each way, queues in bandwidth-delay products. `goal` is the share of the link that shall be reached.

/** Rows of the table of figures, as in docs/design/paths.md. */
export const FIGURES = [
  { name: "clean, 20 ms, 50 Mbit/s", rtt: 20, rate: 50, goal: 0.93 },
  { name: "clean, 100 ms, 200 Mbit/s", rtt: 100, rate: 200, goal: 0.93 },
  { name: "clean, 250 ms, 50 Mbit/s", rtt: 250, rate: 50, goal: 0.93 },
  { name: "100 ms, 1 % loss, 50 Mbit/s", rtt: 100, rate: 50, loss: 1, goal: 0.9 },
  { name: "200 ms, 5 % loss, 50 Mbit/s", rtt: 200, rate: 50, loss: 5, goal: 0.85 },
  { name: "250 ms, 10 % loss, 50 Mbit/s", rtt: 250, rate: 50, loss: 10, goal: 0.8, maxSent: 1.12 },
  {
    name: "300 ms, 15 % loss, 1 % reordered, 1 % twice, 20 Mbit/s",
    rtt: 300,
    rate: 20,
    loss: 15,
    reorder: "1%:30ms",
    duplicate: 1,
    goal: 0.7,
  },
  { name: "40 ms, queue 0.1 BDP, 50 Mbit/s", rtt: 40, rate: 50, queue: 0.1, goal: 0.85, maxLoss: 0.03 },
  {
    name: "100 ms, jitter ±50 %, 5 % reordered, 50 Mbit/s",
    rtt: 100,
    rate: 50,
    jitter: 25,
    reorder: "5%:20ms",
    goal: 0.8,
    maxSpurious: 0.01,
  },
  { name: "100 ms, bursts of 20, 3 % lost, 50 Mbit/s", rtt: 100, rate: 50, burst: "3%:20" },
  { name: "40 ms, 50 Mbit/s, halved from 8 s to 16 s", rtt: 40, rate: 50, halved: [8, 16] },
  { name: "100 ms, 50 Mbit/s, 30 s of blackout after 6 s", rtt: 100, rate: 50, blackout: [6, 30] },
  { name: "queue of 2 s, 40 ms, 20 Mbit/s", rtt: 40, rate: 20, queueSeconds: 2, maxAddedMs: 150 },
  { name: "beside TCP CUBIC, 40 ms, 50 Mbit/s", kind: "cubic", rtt: 40, rate: 50, lasts: 60 },
  { name: "4 godwit flows, 40 ms, 50 Mbit/s", kind: "flows", flows: 4, rtt: 40, rate: 50, lasts: 40 },
  { name: "50 handshakes, 30 % loss, 30 ms", kind: "handshakes", rtt: 30, rate: 50, loss: 30, count: 50 },
];

/** Rows on which godwit is compared with what a user would pick instead. */
export const VERSUS = [
  { name: "clean, 20 ms, 50 Mbit/s", rtt: 20, rate: 50 },
  { name: "clean, 100 ms, 200 Mbit/s", rtt: 100, rate: 200 },
  { name: "100 ms, 1 % loss, 50 Mbit/s", rtt: 100, rate: 50, loss: 1 },
  { name: "200 ms, 5 % loss, 50 Mbit/s", rtt: 200, rate: 50, loss: 5 },
  { name: "250 ms, 10 % loss, 50 Mbit/s", rtt: 250, rate: 50, loss: 10 },
  { name: "satellite: 600 ms, 1 % loss, 10 Mbit/s", rtt: 600, rate: 10, loss: 1 },
].map((path) => ({ ...path, kind: "versus" }));

/** Every combination: some hours. */
export function grid() {
  const all = [];
  for (const rtt of [1, 20, 100, 250, 600])
    for (const loss of [0, 0.1, 1, 5, 10, 20])
      for (const rate of [10, 50, 200])
        for (const queue of [0.1, 1, 4])
          all.push({
            name: `${rtt} ms, ${loss} % loss, ${rate} Mbit/s, queue ${queue} BDP`,
            rtt,
            loss,
            rate,
            queue,
          });
  for (const rtt of [20, 100, 250]) {
    all.push({ name: `${rtt} ms, bursts, 50 Mbit/s`, rtt, rate: 50, burst: "3%:20" });
    all.push({ name: `${rtt} ms, jitter ±50 %, 50 Mbit/s`, rtt, rate: 50, jitter: rtt / 4 });
    all.push({ name: `${rtt} ms, 5 % reordered, 50 Mbit/s`, rtt, rate: 50, reorder: `5%:${rtt / 5}ms` });
    all.push({ name: `${rtt} ms, halved, 50 Mbit/s`, rtt, rate: 50, halved: [8, 16] });
    all.push({ name: `${rtt} ms, blackout, 50 Mbit/s`, rtt, rate: 50, blackout: [6, 30] });
  }
  return all;
}

/** Bytes in flight that fill the path. A path of 1 ms still gets room for ten packets. */
export const bdpBytes = ({ rate, rtt }) => Math.max((rate * 1e6 * rtt) / 8_000, 15_000);

/** Bytes the queue holds. */
export const queueBytes = (path) =>
  Math.round(
    path.queueSeconds === undefined
      ? Math.max(bdpBytes(path) * (path.queue ?? 1), 3_000)
      : (path.rate * 1e6 * path.queueSeconds) / 8,
  );

/** Bits that the link could carry in the first `seconds` of a transfer that began `lead` seconds after the link. */
export function capacityBits(path, lead, seconds) {
  const overlap = (from, to) => Math.max(0, Math.min(lead + seconds, to) - Math.max(lead, from));
  let full = seconds;
  if (path.halved !== undefined) full -= overlap(...path.halved) / 2;
  if (path.blackout !== undefined) full -= overlap(path.blackout[0], path.blackout[0] + path.blackout[1]);
  return full * path.rate * 1e6;
}
